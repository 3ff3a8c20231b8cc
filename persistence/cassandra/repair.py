"""Clears lists, and repairs documents whose writer died: completes or removes them."""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from persistence.cassandra.commits import Committer, Transaction
from persistence.cassandra.documents import InsertRow, delete_entries, label_entries
from persistence.cassandra.driver import Connection, Statement
from persistence.cassandra.list_heads import ListHeads
from persistence.cassandra.rows import (
    AT,
    ListedDocument,
    ListKey,
    RowKey,
    body_of,
    bucket_of,
    head_row_key,
    home_partition,
    marker_row_key,
    object_row_key,
    parent_id,
    primary_key,
)
from persistence.errors import AlreadyExists
from persistence.store import Clear, Document, Key

AT_ONCE = 16

ABANDONED = 60.0
"""Seconds after which a document that is in its list and nowhere else is no write on its way."""

SEARCHED = 64
"""Newest buckets of a list in which a document without a row of its own is looked for."""

IDS = """SELECT position, id FROM objects
    WHERE project=? AND home=? AND bucket=? AND section=? AND label='' AND position<? LIMIT 500"""
REMOVE = f"DELETE FROM objects WHERE {AT} IF EXISTS"
EMPTIED = f"UPDATE objects SET rows=0, bytes=0, closed=null WHERE {AT} IF last=?"
SECTION = "DELETE FROM objects WHERE project=? AND home=? AND bucket=? AND section=?"
TIDY = "DELETE closed_lists[?], newest[?] FROM objects WHERE project=? AND home=? AND bucket=?"
MARKED = f"SELECT place, at FROM objects WHERE {AT}"
LABELS = f"SELECT labels FROM objects WHERE {AT}"
NEVER = f"UPDATE objects SET checked=1 WHERE {AT} IF version=0"
CORRECT = f"UPDATE objects SET value=?, state=?, labels=?, version=? WHERE {AT} IF version=?"


class Marker(NamedTuple):
    """The position of a document in its list, its bucket, and when it was inserted."""

    position: int
    bucket: int
    at: float


class Repair:
    """Clears lists bucket by bucket: the documents' own rows first, then the list's rows."""

    def __init__(
        self,
        connection: Connection,
        committer: Committer,
        heads: ListHeads,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._connection = connection
        self._committer = committer
        self._heads = heads

    async def clear(self, operation: Clear) -> None:
        """Delete every document of a list, from the newest bucket to the first."""
        key = ListKey(operation.project, operation.collection, operation.parent)
        newest = await self._heads.read(key)
        if newest.last is None and newest.bucket == 0:
            return
        for number in range(newest.bucket, -1, -1):
            while not await self._clear_bucket(key, number):
                pass
        self._heads.invalidate(key)

    async def _clear_bucket(self, key: ListKey, number: int) -> bool:
        """Clear one bucket; return False if a document was inserted meanwhile."""
        partition = key.bucket(number)
        row_key = head_row_key(key.collection)
        rows = await self._connection.run(f"SELECT last FROM objects WHERE {AT}", (*partition, *row_key))
        if not rows:
            return True
        below = 2**63 - 1
        while entries := await self._connection.run(IDS, (*partition, f"l:{key.collection}", below)):
            ids = [id for _, id in entries if primary_key(key.key(id), key.parent, number)[0] != partition]
            for start in range(0, len(ids), AT_ONCE):
                await asyncio.gather(*(self._remove(key, id) for id in ids[start : start + AT_ONCE]))
            below = entries[-1][0]
        # The head of the first bucket stays, so that places never run backwards.
        emptied = EMPTIED if number == 0 else f"DELETE FROM objects WHERE {AT} IF last=?"
        statements: list[Statement] = [(emptied, (*partition, *row_key, rows[0][0]))]
        sections = ("l:", "m:") if number else ("c:", "l:", "m:", "k:", "s:")
        statements += [(SECTION, (*partition, f"{section}{key.collection}")) for section in sections]
        statements.append((TIDY, (key.collection, key.collection, *partition)))
        async with self._committer.lock(partition):
            return (await self._connection.compare_and_set(statements)).applied

    async def _remove(self, key: ListKey, id: str) -> None:
        partition = home_partition(key.key(id))
        await self._connection.compare_and_set([(REMOVE, (*partition, *object_row_key(key.collection)))])

    async def complete(self, document: Document) -> bool:
        """Finish an insert whose writer died: the document has an entry but no row of its own.

        Returns False if the row exists. The entry becomes what is written now.
        """
        key = document.key
        rows = await self._connection.run(
            f"SELECT version FROM objects WHERE {AT}", (*home_partition(key), *object_row_key(key.collection))
        )
        if rows:
            return False
        partition = ListKey(key.project, key.collection, document.parent).bucket(bucket_of(document))
        content = body_of(document)
        row_key = RowKey(f"l:{key.collection}", "", document.position)
        statements = [
            (CORRECT, (*content, 1, *partition, *row_key, 1)),
            *label_entries(partition, document, content),
        ]
        async with self._committer.lock(partition):
            await self._connection.compare_and_set(statements)
        try:
            await self._committer.commit(Transaction(home_partition(key), [InsertRow(document, content)]))
        except AlreadyExists:
            return False
        return True

    async def remove_orphan(self, key: Key) -> None:
        """Delete the entry of a document that does not exist, if it is old enough.

        Its writer died between two transactions of an insert or a delete.
        """
        listed = ListKey(key.project, key.collection, parent_id(key.id))
        buckets = {0, self._heads.newest(listed)}
        if listed.parent:  # in the first bucket the row of its own is made, and goes, along with the entry
            buckets.discard(0)
        found = await self._find(listed, key.id, buckets)
        if found is None or self._clock() - found.at < ABANDONED:
            return
        # A transaction ends what an earlier one left undecided, so the row is there by now, or never.
        own_place, own_spot = primary_key(key, listed.parent, found.bucket)
        outcome = await self._connection.compare_and_set_surely([(NEVER, (*own_place, *own_spot))])
        if any(row.get("version") is not None for row in outcome.rows):
            return
        partition, row_key = listed.bucket(found.bucket), RowKey(f"l:{key.collection}", "", found.position)
        rows = await self._connection.run(LABELS, (*partition, *row_key))
        labels = frozenset((rows[0][0] if rows else None) or ())
        document = ListedDocument(key, {}, {}, listed.parent, labels, found.position, 1, found.bucket)
        async with self._committer.lock(partition):
            await self._connection.compare_and_set_surely(list(delete_entries(partition, document, labels)))

    async def find_mark(self, key: ListKey, id: str) -> Marker | None:
        """Return the marker of a document that has no row of its own, or None."""
        newest = (await self._heads.read(key)).bucket
        return await self._find(key, id, {0, *range(max(newest - SEARCHED, 0), newest + 1)})

    async def _find(self, key: ListKey, id: str, buckets: set[int]) -> Marker | None:
        async def look(number: int) -> Marker | None:
            rows = await self._connection.run(
                MARKED, (*key.bucket(number), *marker_row_key(key.collection, id))
            )
            return Marker(rows[0][0], number, rows[0][1] or 0.0) if rows and rows[0][0] is not None else None

        found = await asyncio.gather(*map(look, buckets))
        return next((each for each in found if each is not None), None)
