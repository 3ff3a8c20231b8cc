"""Reads the tables of another application's keyspace."""

from collections.abc import AsyncIterator
from typing import Any

from persistence.cassandra.driver import Connection
from persistence.cassandra.url import parse

COLUMNS = "SELECT column_name, type FROM system_schema.columns WHERE keyspace_name=? AND table_name=?"
PAGE = 200

Row = dict[str, Any]


class ForeignKeyspace:
    """The keyspace of a `cassandra://…` or `astra://…` URL, which is only read."""

    def __init__(self, url: str) -> None:
        self.target = parse(url)
        self._connection = Connection(self.target)
        self._timestamps: set[tuple[str, str]] = set()

    async def open(self) -> None:
        """Connect; raise StoreUnavailable, or StoreRefused for wrong credentials or a missing keyspace."""
        await self._connection.open(self.target.keyspace)

    async def close(self) -> None:
        """Close every connection."""
        await self._connection.close()

    async def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns; none if there is no such table."""
        rows = await self._connection.run(COLUMNS, (self.target.keyspace, table))
        self._timestamps |= {(table, name) for name, kind in rows if kind == "timestamp"}
        return [name for name, _ in rows]

    async def rows(self, table: str, columns: list[str], **key: str) -> AsyncIterator[list[Row]]:
        """Yield the rows of a table, or of one of its partitions, some at a time.

        Timestamps are milliseconds: the driver fails on those that no datetime can hold. `table`, `columns`
        and the names in `key` become part of the statement: they must not be a caller's.
        """
        selected = [self._selected(table, name) for name in columns]
        query = f"SELECT {', '.join(selected)} FROM {table}"
        if key:
            query += " WHERE " + " AND ".join(f"{name}=?" for name in key)
        async for rows in await self._connection.scan(query, tuple(key.values()), PAGE):
            yield [dict(zip(columns, row, strict=True)) for row in rows]

    def _selected(self, table: str, column: str) -> str:
        return f"toUnixTimestamp({column})" if (table, column) in self._timestamps else column
