"""Event logs: one row per segment, in the partition of the object of the same id, with a time to live."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from persistence.cassandra.commits import Part, Rows
from persistence.cassandra.driver import Connection, Statement
from persistence.cassandra.rows import AT, KEY, Partition, RowKey
from persistence.store import Append

BUCKET = 10_000
"""Numbers of events whose segments are in one partition."""

REMEMBERED = 20_000
SECTION = "z:log"
PAGE = 100

ADD = f"INSERT INTO objects ({KEY}, events, writer) VALUES (?,?,?,?,?,?,?,?) IF NOT EXISTS USING TTL ?"
MARK_LOGGED = "UPDATE objects SET logged=true WHERE project=? AND home=? AND bucket=?"
UNDO_ADD = f"DELETE FROM objects WHERE {AT} IF writer=?"
READ = f"""SELECT position, events, TTL(events) FROM objects
    WHERE project=? AND home=? AND bucket=? AND section='{SECTION}' AND label='' AND position>?
    ORDER BY section DESC, label DESC, position ASC LIMIT ?"""
COVERING = f"""SELECT position, events FROM objects
    WHERE project=? AND home=? AND bucket=? AND section='{SECTION}' AND label='' AND position<=?
    LIMIT 1"""


class Segment(NamedTuple):
    """Consecutive events; `lifetime` is the rest of their time to live in seconds."""

    sequence: int
    events: Sequence[bytes]
    lifetime: int


def log_place(operation: Append) -> Partition:
    """Return the partition of a segment."""
    return Partition(operation.project, operation.id, operation.sequence // BUCKET)


class AppendSegment(Part):
    """Append a segment; an existing one with the same first number is kept."""

    def __init__(self, operation: Append) -> None:
        self._operation = operation
        self._row_key = RowKey(SECTION, "", operation.sequence)
        self._stale, self._token = False, ""
        self.row_keys = frozenset({self._row_key})

    def statements(self, partition: Partition, token: str) -> list[Statement]:
        """Return one insert, and the mark that the object has a log."""
        if self._stale:
            return []
        self._token = token
        lifetime = max(int(self._operation.lifetime), 1)
        row = (*partition, *self._row_key, list(self._operation.events), token, lifetime)
        return [(ADD, row), (MARK_LOGGED, tuple(partition))]

    def on_refused(self, rows: Rows) -> None:
        """Do nothing where the segment exists."""
        self._stale = self._row_key in rows

    def undo(self, partition: Partition) -> list[Statement]:
        return [] if self._stale else [(UNDO_ADD, (*partition, *self._row_key, self._token))]


class Logs:
    """Reads segments; knows where segments begin, so that most reads are one statement."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._segment_starts: OrderedDict[tuple[str, str, int], None] = OrderedDict()

    async def read_log(
        self, project: str, id: str, after: int = -1, limit: int = 1000
    ) -> list[tuple[int, bytes]]:
        """Return the events after `after`, whole segments until there are `limit`: one or two statements."""
        events: list[tuple[int, bytes]] = []
        if after >= 0 and (project, id, after + 1) not in self._segment_starts:
            sequence, segment = await self._covering(project, id, after)
            events += [(n, event) for n, event in enumerate(segment, sequence) if n > after]
        bucket = max(after + 1, 0) // BUCKET
        while len(events) < limit:
            start = events[-1][0] if events else after
            rows = await self._connection.run(READ, (project, id, bucket, start, limit))
            for sequence, segment, _ in rows:
                if len(events) < limit:
                    begin = events[-1][0] if events else after
                    events += [(n, event) for n, event in enumerate(segment, sequence) if n > begin]
            following = (events[-1][0] + 1 if events else after + 1) // BUCKET
            if following <= bucket or not rows:
                break
            bucket = following
        if events:
            self._remember((project, id, events[-1][0] + 1))
        return events

    async def segments(self, project: str, id: str, after: int) -> AsyncIterator[Segment]:
        """Yield the segments that begin after `after`, in order."""
        bucket, last = max(after, 0) // BUCKET, after
        while True:
            rows = await self._connection.run(READ, (project, id, bucket, last, PAGE))
            for sequence, events, lifetime in rows:
                yield Segment(sequence, events, lifetime)
            following = bucket
            if rows:
                last = rows[-1][0]
                following = (last + len(rows[-1][1])) // BUCKET
            if following == bucket and len(rows) < PAGE:
                return
            bucket = following if len(rows) < PAGE else bucket

    async def _covering(self, project: str, id: str, after: int) -> tuple[int, Sequence[bytes]]:
        """Return the segment that begins at or before `after`."""
        bucket = after // BUCKET
        rows = await self._connection.run(COVERING, (project, id, bucket, after))
        if not rows and bucket:
            rows = await self._connection.run(COVERING, (project, id, bucket - 1, after))
        return (rows[0][0], rows[0][1]) if rows else (0, [])

    def _remember(self, edge: tuple[str, str, int]) -> None:
        """Remember where a segment begins; drop the oldest over a bound."""
        self._segment_starts[edge] = None
        self._segment_starts.move_to_end(edge)
        if len(self._segment_starts) > REMEMBERED:
            self._segment_starts.popitem(last=False)
