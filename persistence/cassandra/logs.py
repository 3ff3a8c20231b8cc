"""Event logs: a row per segment; of two that begin with the same number the earlier one counts."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from astrolabe_server.persistence.cassandra.driver import Connection, Statement
from astrolabe_server.persistence.store import Append

BUCKET = 10_000
"""Numbers of events whose segments are in one partition."""

HOUR = 3600

LATE = 60
"""Seconds after its end until which an hour may still get logs."""

REMEMBERED = 20_000
KIND = "#logs"

APPEND = "INSERT INTO logs (project, id, bucket, sequence, at, events) VALUES (?,?,?,?,?,?)"
WRITTEN = "UPDATE logs SET written=?, buckets=? WHERE project=? AND id=? AND bucket=0"
HOURLY = "INSERT INTO log_hours (hour, project, id) VALUES (?,?,?)"
READ = "SELECT sequence, events FROM logs WHERE project=? AND id=? AND bucket=? AND sequence>? LIMIT ?"
COVERING = """SELECT sequence, events FROM logs
    WHERE project=? AND id=? AND bucket=? AND sequence<=? ORDER BY sequence DESC, at DESC LIMIT 20"""
AGE = "SELECT written, buckets FROM logs WHERE project=? AND id=? AND bucket=0 LIMIT 1"
DROP = "DELETE FROM logs WHERE project=? AND id=? AND bucket=?"
FIRST = "INSERT INTO kinds (kind, first) VALUES (?,?) IF NOT EXISTS"
MARK = "SELECT first, settled FROM kinds WHERE kind=?"
SETTLED = "UPDATE kinds USING TIMESTAMP ? SET settled=? WHERE kind=?"

Segment = tuple[int, Sequence[bytes]]


class Logs:
    """Appends and reads segments; knows where segments begin, so that most reads are one statement."""

    def __init__(self, connection: Connection, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._clock = clock
        self._edges: OrderedDict[tuple[str, str, int], None] = OrderedDict()
        self._hourly: OrderedDict[tuple[str, str, int], None] = OrderedDict()
        self._begun = False

    async def append(self, operation: Append) -> None:
        """Add a segment: one statement, and one more in each hour."""
        project, id, sequence = operation.project, operation.id, operation.sequence
        now = self._clock()
        bucket = sequence // BUCKET
        row: Statement = (
            APPEND,
            (project, id, bucket, sequence, int(now * 1_000_000), list(operation.events)),
        )
        written: Statement = (WRITTEN, (now, bucket + 1, project, id))
        writes: list[Awaitable[object]] = [self._note(project, id, int(now) // HOUR)]
        if bucket == 0:
            writes.append(self._connection.run_together([row, written]))
        else:
            writes += [self._connection.run(*row), self._connection.run(*written)]
        await asyncio.gather(*writes)

    async def _note(self, project: str, id: str, hour: int) -> None:
        """Enter a log among those of an hour, once."""
        if (project, id, hour) in self._hourly:
            return
        if not self._begun:
            await self._connection.compare_and_set([(FIRST, (KIND, hour - 1))])
            self._begun = True
        await self._connection.run(HOURLY, (hour, project, id))
        remember(self._hourly, (project, id, hour))

    async def read(self, project: str, id: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Events numbered over `after`, from as many whole segments as give at least `limit`."""
        events: list[tuple[int, bytes]] = []
        if after >= 0 and (project, id, after + 1) not in self._edges:
            for sequence, segment in await self._covering(project, id, after):
                events += [(n, event) for n, event in enumerate(segment, sequence) if n > after]
        bucket = max(after + 1, 0) // BUCKET
        while len(events) < limit:
            start = events[-1][0] if events else after
            rows = await self._connection.run(READ, (project, id, bucket, start, limit))
            last = None
            for sequence, segment in rows:
                if sequence != last and len(events) < limit:
                    begin = events[-1][0] if events else after
                    events += [(n, event) for n, event in enumerate(segment, sequence) if n > begin]
                last = sequence
            following = (events[-1][0] + 1 if events else after + 1) // BUCKET
            if following <= bucket or not rows:
                break
            bucket = following
        if events:
            remember(self._edges, (project, id, events[-1][0] + 1))
        return events

    async def _covering(self, project: str, id: str, after: int) -> list[Segment]:
        """The segment that begins at or before `after`, which may go on beyond it."""
        bucket = after // BUCKET
        rows = await self._connection.run(COVERING, (project, id, bucket, after))
        if not rows and bucket:
            rows = await self._connection.run(COVERING, (project, id, bucket - 1, after))
        if not rows:
            return []
        first = [row for row in rows if row[0] == rows[0][0]][-1]
        return [(first[0], first[1])]

    async def drop(self, before: float) -> int:
        """Drop logs last written before that time, hour by hour; how many."""
        rows = await self._connection.run(MARK, (KIND,))
        if not rows or rows[0][0] is None:
            return 0
        dropped = 0
        for hour in range(max(rows[0][0], rows[0][1] or 0), int(before) // HOUR + 1):
            dropped += await self._drop_hour(hour, before)
            if (hour + 1) * HOUR <= min(before, self._clock() - LATE):
                await self._connection.run("DELETE FROM log_hours WHERE hour=?", (hour,))
                await self._connection.run(SETTLED, (hour + 1, hour + 1, KIND))
        return dropped

    async def _drop_hour(self, hour: int, before: float) -> int:
        dropped = 0
        scan = await self._connection.scan("SELECT project, id FROM log_hours WHERE hour=?", (hour,), 200)
        async for rows in scan:
            dropped += sum(await asyncio.gather(*(self._drop(project, id, before) for project, id in rows)))
        return dropped

    async def _drop(self, project: str, id: str, before: float) -> bool:
        rows = await self._connection.run(AGE, (project, id))
        if not rows or rows[0][0] is None or rows[0][0] >= before:
            return False
        for bucket in range(rows[0][1] - 1, -1, -1):
            await self._connection.run(DROP, (project, id, bucket))
        return True


def remember(known: OrderedDict[tuple[str, str, int], None], item: tuple[str, str, int]) -> None:
    """Add to what is known, and forget the oldest beyond a bound."""
    known[item] = None
    known.move_to_end(item)
    if len(known) > REMEMBERED:
        known.popitem(last=False)
