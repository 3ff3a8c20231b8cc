"""Event logs in SQLite: one row per segment, with length-prefixed events."""

import struct
import time
from collections.abc import Callable, Iterator, Sequence

import apsw

from persistence.sqlite.database import fetch_all, fetch_one
from persistence.store import Append

LENGTH = struct.Struct("<I")
SLICE = 50
"""Logs dropped in one transaction at most, so that other writers get their turn."""


class Logs:
    """Statements over logs; `append` and `drop` inside a transaction."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock

    def append(self, connection: apsw.Connection, operation: Append) -> None:
        """Append a segment; an existing one is kept."""
        sql = (
            "INSERT INTO logs (project, id, until) VALUES (?,?,?) "
            "ON CONFLICT (project, id) DO UPDATE SET until=max(until, excluded.until) RETURNING log"
        )
        until = self._clock() + operation.lifetime
        ((log,),) = fetch_all(connection, sql, (operation.project, operation.id, until))
        sql = "INSERT OR IGNORE INTO segments (log, sequence, events) VALUES (?,?,?)"
        connection.execute(sql, (log, operation.sequence, pack(operation.events)))

    def read(
        self, connection: apsw.Connection, project: str, id: str, after: int, limit: int
    ) -> list[tuple[int, bytes]]:
        """Return the events after `after`, whole segments until there are `limit`."""
        row = fetch_one(connection, "SELECT log FROM logs WHERE project=? AND id=?", (project, id))
        events: list[tuple[int, bytes]] = []
        if row is None:
            return events
        sql = (
            "SELECT sequence, events FROM segments WHERE log=?1 AND sequence>=coalesce("
            "(SELECT max(sequence) FROM segments WHERE log=?1 AND sequence<=?2), 0) ORDER BY sequence"
        )
        cursor = connection.execute(sql, (row[0], after + 1))
        for sequence, segment in cursor:
            for number, event in enumerate(unpack(segment), sequence):
                if number > after:
                    events.append((number, event))
                    after = number
            if len(events) >= limit:
                cursor.close()
                break
        return events

    def drop(self, connection: apsw.Connection) -> int:
        """Delete some expired logs; return how many, 0 once there are none."""
        sql = "SELECT log FROM logs WHERE until<=? ORDER BY until LIMIT ?"
        logs = fetch_all(connection, sql, (self._clock(), SLICE))
        connection.executemany("DELETE FROM segments WHERE log=?", logs)
        connection.executemany("DELETE FROM logs WHERE log=?", logs)
        return len(logs)


def pack(events: Sequence[bytes]) -> bytes:
    """Join events into one value."""
    return b"".join(part for event in events for part in (LENGTH.pack(len(event)), event))


def unpack(segment: bytes) -> Iterator[bytes]:
    """Yield the events of a packed segment."""
    offset = 0
    while offset < len(segment):
        (length,) = LENGTH.unpack_from(segment, offset)
        offset += LENGTH.size
        yield segment[offset : offset + length]
        offset += length
