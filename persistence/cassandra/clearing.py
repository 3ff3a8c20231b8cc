"""Whole lists emptied, and documents completed, or taken out, that a dead writer left half done."""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from persistence.cassandra.commits import Committer, Group
from persistence.cassandra.documents import Own, label_copies, leave
from persistence.cassandra.driver import Connection, Statement
from persistence.cassandra.heads import Heads
from persistence.cassandra.rows import (
    AT,
    ListKey,
    Spot,
    head,
    holder,
    home,
    mark,
    of_document,
    own,
    seat,
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


class Mark(NamedTuple):
    """Where in its list a document is, and since when."""

    position: int
    bucket: int
    at: float


class Clearing:
    """Empties lists: every document's own row first, then the rows of the list, bucket by bucket."""

    def __init__(
        self,
        connection: Connection,
        committer: Committer,
        heads: Heads,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._connection = connection
        self._committer = committer
        self._heads = heads

    async def clear(self, operation: Clear) -> None:
        """Remove every document of a list, in buckets from the newest to the first."""
        key = ListKey(operation.project, operation.collection, operation.parent)
        newest = await self._heads.read(key)
        if newest.last is None and newest.bucket == 0:
            return
        for number in range(newest.bucket, -1, -1):
            while not await self._clear_bucket(key, number):
                pass
        self._heads.forget(key)

    async def _clear_bucket(self, key: ListKey, number: int) -> bool:
        """Empty one bucket; False if something entered it meanwhile."""
        place = key.bucket(number)
        spot = head(key.collection)
        rows = await self._connection.run(f"SELECT last FROM objects WHERE {AT}", (*place, *spot))
        if not rows:
            return True
        below = 2**63 - 1
        while entries := await self._connection.run(IDS, (*place, f"l:{key.collection}", below)):
            ids = [id for _, id in entries if seat(key.key(id), key.parent, number)[0] != place]
            for start in range(0, len(ids), AT_ONCE):
                await asyncio.gather(*(self._remove(key, id) for id in ids[start : start + AT_ONCE]))
            below = entries[-1][0]
        # The head of the first bucket stays, so that places never run backwards.
        emptied = EMPTIED if number == 0 else f"DELETE FROM objects WHERE {AT} IF last=?"
        statements: list[Statement] = [(emptied, (*place, *spot, rows[0][0]))]
        sections = ("l:", "m:") if number else ("c:", "l:", "m:", "k:", "s:")
        statements += [(SECTION, (*place, f"{section}{key.collection}")) for section in sections]
        statements.append((TIDY, (key.collection, key.collection, *place)))
        async with self._committer.lock(place):
            return (await self._connection.compare_and_set(statements)).applied

    async def _remove(self, key: ListKey, id: str) -> None:
        place = home(key.key(id))
        await self._connection.compare_and_set([(REMOVE, (*place, *own(key.collection)))])

    async def complete(self, document: Document) -> bool:
        """Finish what a dead writer began: the document is in its list, and nowhere else.

        False if it is all there. Its copies become what is to be written now.
        """
        key = document.key
        rows = await self._connection.run(
            f"SELECT version FROM objects WHERE {AT}", (*home(key), *own(key.collection))
        )
        if rows:
            return False
        place = ListKey(key.project, key.collection, document.parent).bucket(document.shelf)
        content = of_document(document)
        spot = Spot(f"l:{key.collection}", "", document.position)
        statements = [(CORRECT, (*content, 1, *place, *spot, 1)), *label_copies(place, document, content)]
        async with self._committer.lock(place):
            await self._connection.compare_and_set(statements)
        try:
            await self._committer.commit(Group(home(key), [Own(document, content)]))
        except AlreadyExists:
            return False
        return True

    async def remove_orphan(self, key: Key) -> None:
        """Take a document that was not found out of its list, if it is there since a while.

        Its writer died between two transactions, and told nobody that it was made, or began to delete it.
        """
        listed = ListKey(key.project, key.collection, holder(key.id))
        buckets = {0, self._heads.newest(listed)}
        if listed.parent:  # in the first bucket the row of its own is made, and goes, along with the entry
            buckets.discard(0)
        found = await self._find(listed, key.id, buckets)
        if found is None or self._clock() - found.at < ABANDONED:
            return
        # A transaction ends what an earlier one left undecided, so the row is there by now, or never.
        own_place, own_spot = seat(key, listed.parent, found.bucket)
        outcome = await self._connection.settle([(NEVER, (*own_place, *own_spot))])
        if any(row.get("version") is not None for row in outcome.rows):
            return
        place, spot = listed.bucket(found.bucket), Spot(f"l:{key.collection}", "", found.position)
        rows = await self._connection.run(LABELS, (*place, *spot))
        labels = frozenset((rows[0][0] if rows else None) or ())
        document = Document(key, {}, {}, listed.parent, labels, found.position, 1, found.bucket)
        async with self._committer.lock(place):
            await self._connection.settle(list(leave(place, document, labels)))

    async def find_mark(self, key: ListKey, id: str) -> Mark | None:
        """Where a document is in a list that has no row of its own, or none yet; or None."""
        newest = (await self._heads.read(key)).bucket
        return await self._find(key, id, {0, *range(max(newest - SEARCHED, 0), newest + 1)})

    async def _find(self, key: ListKey, id: str, buckets: set[int]) -> Mark | None:
        async def look(number: int) -> Mark | None:
            rows = await self._connection.run(MARKED, (*key.bucket(number), *mark(key.collection, id)))
            return Mark(rows[0][0], number, rows[0][1] or 0.0) if rows and rows[0][0] is not None else None

        found = await asyncio.gather(*map(look, buckets))
        return next((each for each in found if each is not None), None)
