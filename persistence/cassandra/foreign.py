"""Reads the tables of another application's keyspace."""

from collections.abc import AsyncIterator
from typing import Any

from persistence.cassandra.driver import Connection
from persistence.cassandra.url import parse

COLUMNS = "SELECT column_name FROM system_schema.columns WHERE keyspace_name=? AND table_name=?"
PAGE = 200

Row = dict[str, Any]


class ForeignKeyspace:
    """The keyspace of a `cassandra://…` or `astra://…` URL, which is only read."""

    def __init__(self, url: str) -> None:
        self.target = parse(url)
        self._connection = Connection(self.target)

    async def open(self) -> None:
        """Connect; raise StoreUnavailable, or StoreRefused for wrong credentials or a missing keyspace."""
        await self._connection.open(self.target.keyspace)

    async def close(self) -> None:
        """Close every connection."""
        await self._connection.close()

    async def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns; none if there is no such table."""
        rows = await self._connection.run(COLUMNS, (self.target.keyspace, table))
        return [name for (name,) in rows]

    async def rows(self, table: str, columns: list[str], **key: str) -> AsyncIterator[list[Row]]:
        """Yield the rows of a table, or of one of its partitions, some at a time.

        `table`, `columns` and the names in `key` become part of the statement: they must not be a caller's.
        """
        query = f"SELECT {', '.join(columns)} FROM {table}"
        if key:
            query += " WHERE " + " AND ".join(f"{name}=?" for name in key)
        async for rows in await self._connection.scan(query, tuple(key.values()), PAGE):
            yield [dict(zip(columns, row, strict=True)) for row in rows]
