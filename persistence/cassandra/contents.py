"""The bytes of files, in pieces of 512 kB; a content is there once its manifest is."""

import asyncio
import secrets
from collections.abc import AsyncIterator

from astrolabe_server.persistence.cassandra.driver import Connection
from astrolabe_server.persistence.cassandra.rows import storable
from astrolabe_server.persistence.errors import ContentNotFound

PIECE = 512 << 10
STRIPE = 64
"""Pieces in one partition: 32 MB."""

IN_FLIGHT = 4
"""Pieces that are written, or read ahead, at the same time."""

PUT = "INSERT INTO content_pieces (project, id, generation, stripe, piece, data) VALUES (?,?,?,?,?,?)"
GET = "SELECT data FROM content_pieces WHERE project=? AND id=? AND generation=? AND stripe=? AND piece=?"
FORGET = "DELETE FROM content_pieces WHERE project=? AND id=? AND generation=? AND stripe=?"
FIND = "SELECT generation, size FROM contents WHERE project=? AND id=?"
KEEP = "INSERT INTO contents (project, id, generation, size) VALUES (?,?,?,?)"
DROP = "DELETE FROM contents WHERE project=? AND id=?"


class Contents:
    """Writes and reads contents as streams."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def write(self, project: str, id: str, pieces: AsyncIterator[bytes]) -> int:
        """Keep the bytes; an older content of that id is there until this one is."""
        generation = secrets.token_hex(8)
        writing: set[asyncio.Task[object]] = set()
        size = number = 0
        try:
            async for piece in even(pieces):
                if len(writing) >= IN_FLIGHT:
                    done, writing = await asyncio.wait(writing, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                row = (project, id, generation, number // STRIPE, number, piece)
                writing.add(asyncio.ensure_future(self._connection.run(PUT, row)))
                size += len(piece)
                number += 1
            await asyncio.gather(*writing)
            before = await self._connection.run(FIND, (project, id))
            await self._connection.run(KEEP, (project, id, generation, size))
        except BaseException:
            await asyncio.gather(*writing, return_exceptions=True)
            await asyncio.shield(self._forget(project, id, generation, size))
            raise
        for old, old_size in before:
            await self._forget(project, id, old, old_size)
        return size

    async def read(self, project: str, id: str, start: int, end: int | None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`, some pieces ahead of who takes them."""
        rows = await self._connection.run(FIND, (project, id)) if storable(project, id) else []
        if not rows:
            raise ContentNotFound(f"no content {id}")
        generation, size = rows[0]
        end = size if end is None else min(end, size)
        start = max(start, 0)
        numbers = iter(range(start // PIECE, -(-end // PIECE)) if start < end else ())
        ahead: list[tuple[int, asyncio.Task[bytes]]] = []
        try:
            while True:
                while len(ahead) < IN_FLIGHT and (number := next(numbers, None)) is not None:
                    task = asyncio.ensure_future(self._piece(project, id, generation, number))
                    ahead.append((number, task))
                if not ahead:
                    return
                number, task = ahead.pop(0)
                data = await task
                yield data[max(start - number * PIECE, 0) : end - number * PIECE]
        finally:
            for _, task in ahead:
                task.cancel()

    async def _piece(self, project: str, id: str, generation: str, number: int) -> bytes:
        rows = await self._connection.run(GET, (project, id, generation, number // STRIPE, number))
        if not rows:
            raise ContentNotFound(f"content {id} was deleted while it was read")
        return bytes(rows[0][0])

    async def delete(self, project: str, id: str) -> None:
        """Forget the bytes."""
        if not storable(project, id):
            return
        for generation, size in await self._connection.run(FIND, (project, id)):
            await self._connection.run(DROP, (project, id))
            await self._forget(project, id, generation, size)

    async def _forget(self, project: str, id: str, generation: str, size: int) -> None:
        for stripe in range(-(-size // (PIECE * STRIPE)) or 1):
            await self._connection.run(FORGET, (project, id, generation, stripe))


async def even(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of one size, the last apart."""
    buffer = bytearray()
    async for piece in pieces:
        buffer += piece
        while len(buffer) >= PIECE:
            yield bytes(buffer[:PIECE])
            del buffer[:PIECE]
    if buffer:
        yield bytes(buffer)
