"""Whole lists emptied, and documents completed that a dead writer left half made."""

import asyncio

from astrolabe_server.persistence.cassandra.commits import Committer, Group
from astrolabe_server.persistence.cassandra.documents import Own, label_copies
from astrolabe_server.persistence.cassandra.driver import Connection, Statement
from astrolabe_server.persistence.cassandra.heads import Heads
from astrolabe_server.persistence.cassandra.rows import (
    AT,
    ListKey,
    Spot,
    head,
    home,
    mark,
    of_document,
    own,
    seat,
)
from astrolabe_server.persistence.errors import AlreadyExists
from astrolabe_server.persistence.store import Clear, Document

AT_ONCE = 16

IDS = """SELECT position, id FROM objects
    WHERE project=? AND home=? AND bucket=? AND section=? AND label='' AND position<? LIMIT 500"""
REMOVE = f"DELETE FROM objects WHERE {AT} IF EXISTS"
EMPTIED = f"UPDATE objects SET rows=0, bytes=0, closed=null WHERE {AT} IF last=?"
SECTION = "DELETE FROM objects WHERE project=? AND home=? AND bucket=? AND section=?"
TIDY = "DELETE closed_lists[?], newest[?] FROM objects WHERE project=? AND home=? AND bucket=?"
MARKED = f"SELECT place FROM objects WHERE {AT}"
CORRECT = f"UPDATE objects SET value=?, state=?, labels=?, version=? WHERE {AT} IF version=?"


class Clearing:
    """Empties lists: every document's own row first, then the rows of the list, bucket by bucket."""

    def __init__(self, connection: Connection, committer: Committer, heads: Heads) -> None:
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

    async def find_mark(self, key: ListKey, id: str) -> tuple[int, int] | None:
        """(position, bucket) of a document that entered a list just now, or None."""
        newest = await self._heads.read(key)
        for number in {newest.bucket, 0}:
            place = key.bucket(number)
            rows = await self._connection.run(MARKED, (*place, *mark(key.collection, id)))
            if rows:
                return rows[0][0], number
        return None
