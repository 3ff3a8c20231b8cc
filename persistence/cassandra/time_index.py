"""Marks of the indexes by time: where each begins, and up to where it is settled."""

import asyncio

from persistence.cassandra.driver import Connection

FIRST = "INSERT INTO kinds (kind, first) VALUES (?,?) IF NOT EXISTS"
MARK = "SELECT first, settled FROM kinds WHERE kind=?"
SETTLED = "UPDATE kinds USING TIMESTAMP ? SET settled=? WHERE kind=?"


class TimeIndexMarks:
    """Starts each index once per keyspace, and records how far it is settled."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._begun: set[str] = set()
        self._beginning = asyncio.Lock()

    async def ensure_started(self, kind: str, first: int) -> None:
        """Record where the index of a kind begins, once per process.

        The row is read first and by one caller at a time: many transactions on it at once would time out.
        """
        if kind in self._begun:
            return
        async with self._beginning:
            if kind in self._begun:
                return
            if not await self._connection.run(MARK, (kind,)):
                await self._connection.compare_and_set_surely([(FIRST, (kind, first))])
            self._begun.add(kind)

    async def first_unsettled(self, kind: str) -> int | None:
        """Return where the unsettled part begins; None if the index was never started."""
        rows = await self._connection.run(MARK, (kind,))
        return None if not rows or rows[0][0] is None else max(rows[0][0], rows[0][1] or 0)

    async def mark_settled(self, kind: str, mark: int) -> None:
        """Record that everything before the mark is settled; of two marks the later stays."""
        await self._connection.run(SETTLED, (mark, mark, kind))
