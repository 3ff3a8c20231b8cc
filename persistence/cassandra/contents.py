"""The bytes of files, in pieces of 512 kB; a content is there once its manifest is.

Each time that a content is written is a generation of its own. It is noted in a partition of its ten
minutes before its first piece, so that what a dead writer left is found: `sweep` goes through the
partitions that are older than any upload lasts, removes the pieces of generations that no manifest
names, and drops the partition whole.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable

from persistence.cassandra.driver import Connection
from persistence.cassandra.kinds import Kinds
from persistence.cassandra.rows import storable
from persistence.errors import ContentNotFound, StoreUnavailable

PIECE = 512 << 10
STRIPE = 64
"""Pieces in one partition: 32 MB."""

IN_FLIGHT = 4
"""Pieces that are written, or read ahead, at the same time."""

WIDTH = 600
"""Seconds of a partition of beginnings."""

LONGEST = 6 * 3600.0
"""Seconds that writing a content may take."""

ABANDONED = LONGEST + 3600.0
"""Seconds after which a generation without a manifest was left by a dead writer."""

KIND = "#contents"
AT_ONCE = 16

PUT = """INSERT INTO content_pieces (project, id, generation, stripe, piece, data) VALUES (?,?,?,?,?,?)
    USING TIMESTAMP ?"""
GET = "SELECT data FROM content_pieces WHERE project=? AND id=? AND generation=? AND stripe=? AND piece=?"
ANY = "SELECT piece FROM content_pieces WHERE project=? AND id=? AND generation=? AND stripe=? LIMIT 1"
FORGET = """DELETE FROM content_pieces USING TIMESTAMP ?
    WHERE project=? AND id=? AND generation=? AND stripe=?"""
FIND = "SELECT generation, size, WRITETIME(size) FROM contents WHERE project=? AND id=?"
KEEP = "INSERT INTO contents (project, id, generation, size) VALUES (?,?,?,?) USING TIMESTAMP ?"
DROP = "DELETE FROM contents USING TIMESTAMP ? WHERE project=? AND id=?"

BEGIN = "INSERT INTO content_beginnings (bucket, project, id, generation) VALUES (?,?,?,?)"
BEGUN = "SELECT project, id, generation FROM content_beginnings WHERE bucket=?"
SWEPT = "DELETE FROM content_beginnings WHERE bucket=?"


class Contents:
    """Writes and reads contents as streams.

    Clocks of replicas may differ: what replaces or removes a content is written as of a time later than
    the content's own, whatever the time is here.
    """

    def __init__(self, connection: Connection, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._clock = clock
        self._marks = Kinds(connection)

    async def write(self, project: str, id: str, pieces: AsyncIterator[bytes]) -> int:
        """Keep the bytes; an older content of that id is there until this one is."""
        generation, began = secrets.token_hex(8), time.monotonic()
        writing: set[asyncio.Task[object]] = set()
        size = number = 0
        noted = asyncio.ensure_future(self._begin(project, id, generation))
        try:
            async for piece in even(pieces):
                await noted
                if len(writing) >= IN_FLIGHT:
                    done, writing = await asyncio.wait(writing, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                row = (project, id, generation, number // STRIPE, number, piece, self._later())
                writing.add(asyncio.ensure_future(self._connection.run(PUT, row)))
                size += len(piece)
                number += 1
            await asyncio.gather(noted, *writing)
            in_time(id, began)
            before = await self._connection.run(FIND, (project, id))
            after = self._later(*(row[2] for row in before))
            await self._connection.run(KEEP, (project, id, generation, size, after))
        except BaseException:
            await asyncio.gather(noted, *writing, return_exceptions=True)
            await asyncio.shield(self._forget(project, id, generation, size, self._later()))
            raise
        for old, old_size, written in before:
            await self._forget(project, id, old, old_size, self._later(written))
        return size

    async def read(self, project: str, id: str, start: int, end: int | None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`, some pieces ahead of who takes them."""
        rows = await self._connection.run(FIND, (project, id)) if storable(project, id) else []
        if not rows:
            raise ContentNotFound(f"no content {id}")
        generation, size, _ = rows[0]
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
        for generation, size, written in await self._connection.run(FIND, (project, id)):
            after = self._later(written)
            await self._connection.run(DROP, (after, project, id))
            await self._forget(project, id, generation, size, after)

    async def _forget(self, project: str, id: str, generation: str, size: int, after: int) -> None:
        for stripe in range(-(-size // (PIECE * STRIPE)) or 1):
            await self._connection.run(FORGET, (after, project, id, generation, stripe))

    def _later(self, *written: int) -> int:
        """A time in microseconds, now or just after what was written by a clock that is ahead."""
        return max(int(self._clock() * 1_000_000), *(time + 1 for time in written), 0)

    # --- what dead writers left ---

    async def _begin(self, project: str, id: str, generation: str) -> None:
        """Note a generation: one statement, and one more in a process's life."""
        bucket = int(self._clock()) // WIDTH
        await self._marks.begin(KIND, bucket - 1)
        await self._connection.run(BEGIN, (bucket, project, id, generation))

    async def sweep(self) -> int:
        """Remove the pieces of generations that were abandoned; how many generations."""
        mark = await self._marks.mark(KIND)
        if mark is None:
            return 0
        removed = 0
        until = int(self._clock() - ABANDONED) // WIDTH
        for bucket in range(mark, until):
            removed += await self._sweep(bucket)
            await self._marks.settle(KIND, bucket + 1)
        return removed

    async def _sweep(self, bucket: int) -> int:
        removed = 0
        async for rows in await self._connection.scan(BEGUN, (bucket,), 500):
            for start in range(0, len(rows), AT_ONCE):
                removed += sum(
                    await asyncio.gather(*(self._clear(*row) for row in rows[start : start + AT_ONCE]))
                )
        await self._connection.run(SWEPT, (bucket,))
        return removed

    async def _clear(self, project: str, id: str, generation: str) -> bool:
        """Remove the pieces of a generation unless it is the content."""
        found = await self._connection.run(FIND, (project, id))
        if found and found[0][0] == generation:
            return False
        stripe = 0
        while await self._connection.run(ANY, (project, id, generation, stripe)):
            await self._connection.run(FORGET, (self._later(), project, id, generation, stripe))
            stripe += 1
        return stripe > 0


def in_time(id: str, began: float) -> None:
    """StoreUnavailable if a content took so long that its pieces may have been swept."""
    if time.monotonic() - began > LONGEST:
        raise StoreUnavailable(f"content {id} took more than {LONGEST:.0f} s to write")


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
