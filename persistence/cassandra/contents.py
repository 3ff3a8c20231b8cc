"""The bytes of files, in pieces of 512 kB; a content exists once its manifest row does.

Every write of a content is a new generation, recorded before its first piece in a partition for ten minutes.
`sweep` reads the partitions that are older than any upload, and deletes the generations that no manifest
names.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable

from persistence.cassandra.driver import Connection
from persistence.cassandra.rows import storable
from persistence.cassandra.time_index import TimeIndexMarks
from persistence.errors import ContentNotFound, StoreUnavailable

PIECE = 512 << 10
STRIPE = 64
"""Pieces in one partition: 32 MB."""

IN_FLIGHT = 4
"""Pieces that are written, or read ahead, at the same time."""

BUCKET_SECONDS = 600
"""Seconds of a partition of beginnings."""

MAX_SECONDS = 6 * 3600.0
"""Seconds that writing a content may take."""

ABANDONED = MAX_SECONDS + 3600.0
"""Seconds after which a generation without a manifest was left by a dead writer."""

INDEX = "#contents"
AT_ONCE = 16

PUT = """INSERT INTO content_pieces (project, id, generation, stripe, piece, data) VALUES (?,?,?,?,?,?)
    USING TIMESTAMP ?"""
GET = "SELECT data FROM content_pieces WHERE project=? AND id=? AND generation=? AND stripe=? AND piece=?"
ANY = "SELECT piece FROM content_pieces WHERE project=? AND id=? AND generation=? AND stripe=? LIMIT 1"
DELETE_STRIPE = """DELETE FROM content_pieces USING TIMESTAMP ?
    WHERE project=? AND id=? AND generation=? AND stripe=?"""
GET_MANIFEST = "SELECT generation, size, WRITETIME(size) FROM contents WHERE project=? AND id=?"
PUT_MANIFEST = "INSERT INTO contents (project, id, generation, size) VALUES (?,?,?,?) USING TIMESTAMP ?"
DELETE_MANIFEST = "DELETE FROM contents USING TIMESTAMP ? WHERE project=? AND id=?"

BEGIN = "INSERT INTO content_beginnings (bucket, project, id, generation) VALUES (?,?,?,?)"
BEGUN = "SELECT project, id, generation FROM content_beginnings WHERE bucket=?"
SWEPT = "DELETE FROM content_beginnings WHERE bucket=?"


class Contents:
    """Writes and reads contents as streams.

    Clocks of replicas may differ, so a change of a content gets a timestamp later than the content's.
    """

    def __init__(self, connection: Connection, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._clock = clock
        self._marks = TimeIndexMarks(connection)

    async def write_content(self, project: str, id: str, pieces: AsyncIterator[bytes]) -> int:
        """Write the bytes; an older content of the id stays readable until this one is complete."""
        generation, began = secrets.token_hex(8), time.monotonic()
        writing: set[asyncio.Task[object]] = set()
        size = number = 0
        noted = asyncio.ensure_future(self._record_start(project, id, generation))
        try:
            async for piece in rechunk(pieces):
                await noted
                if len(writing) >= IN_FLIGHT:
                    done, writing = await asyncio.wait(writing, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                row = (project, id, generation, number // STRIPE, number, piece, self._timestamp_after())
                writing.add(asyncio.ensure_future(self._connection.run(PUT, row)))
                size += len(piece)
                number += 1
            await asyncio.gather(noted, *writing)
            check_duration(id, began)
            before = await self._connection.run(GET_MANIFEST, (project, id))
            after = self._timestamp_after(*(row[2] for row in before))
            await self._connection.run(PUT_MANIFEST, (project, id, generation, size, after))
        except BaseException:
            await asyncio.gather(noted, *writing, return_exceptions=True)
            await asyncio.shield(self._delete_pieces(project, id, generation, size, self._timestamp_after()))
            raise
        for old, old_size, written in before:
            await self._delete_pieces(project, id, old, old_size, self._timestamp_after(written))
        return size

    async def read_content(
        self, project: str, id: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` to `end`, reading a few pieces ahead."""
        rows = await self._connection.run(GET_MANIFEST, (project, id)) if storable(project, id) else []
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

    async def delete_content(self, project: str, id: str) -> None:
        """Delete the bytes."""
        if not storable(project, id):
            return
        for generation, size, written in await self._connection.run(GET_MANIFEST, (project, id)):
            after = self._timestamp_after(written)
            await self._connection.run(DELETE_MANIFEST, (after, project, id))
            await self._delete_pieces(project, id, generation, size, after)

    async def _delete_pieces(self, project: str, id: str, generation: str, size: int, after: int) -> None:
        for stripe in range(-(-size // (PIECE * STRIPE)) or 1):
            await self._connection.run(DELETE_STRIPE, (after, project, id, generation, stripe))

    def _timestamp_after(self, *written: int) -> int:
        """Return the time in microseconds, or one later than what a clock that is ahead has written."""
        return max(int(self._clock() * 1_000_000), *(time + 1 for time in written), 0)

    # --- what dead writers left ---

    async def _record_start(self, project: str, id: str, generation: str) -> None:
        """Record a generation, so that its pieces are found if this process dies."""
        bucket = int(self._clock()) // BUCKET_SECONDS
        await self._marks.ensure_started(INDEX, bucket - 1)
        await self._connection.run(BEGIN, (bucket, project, id, generation))

    async def sweep(self) -> None:
        """Delete the pieces of abandoned generations."""
        mark = await self._marks.first_unsettled(INDEX)
        if mark is None:
            return
        for bucket in range(mark, int(self._clock() - ABANDONED) // BUCKET_SECONDS):
            await self._sweep(bucket)
            await self._marks.mark_settled(INDEX, bucket + 1)

    async def _sweep(self, bucket: int) -> None:
        async for rows in await self._connection.scan(BEGUN, (bucket,), 500):
            for start in range(0, len(rows), AT_ONCE):
                part = rows[start : start + AT_ONCE]
                await asyncio.gather(*(self._delete_if_abandoned(*row) for row in part))
        await self._connection.run(SWEPT, (bucket,))

    async def _delete_if_abandoned(self, project: str, id: str, generation: str) -> None:
        """Delete the pieces of a generation that no manifest names."""
        found = await self._connection.run(GET_MANIFEST, (project, id))
        if found and found[0][0] == generation:
            return
        stripe = 0
        while await self._connection.run(ANY, (project, id, generation, stripe)):
            await self._connection.run(
                DELETE_STRIPE, (self._timestamp_after(), project, id, generation, stripe)
            )
            stripe += 1


def check_duration(id: str, began: float) -> None:
    """Raise StoreUnavailable if the write took so long that its pieces may have been swept."""
    if time.monotonic() - began > MAX_SECONDS:
        raise StoreUnavailable(f"content {id} took more than {MAX_SECONDS:.0f} s to write")


async def rechunk(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the same bytes in pieces of PIECE bytes; the last may be shorter."""
    buffer = bytearray()
    async for piece in pieces:
        buffer += piece
        while len(buffer) >= PIECE:
            yield bytes(buffer[:PIECE])
            del buffer[:PIECE]
    if buffer:
        yield bytes(buffer)
