"""Reads of documents by id, and of pages of lists."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from persistence.cassandra.driver import Connection
from persistence.cassandra.list_heads import ListHead, ListHeads
from persistence.cassandra.repair import Repair
from persistence.cassandra.rows import (
    AT,
    ListKey,
    bucket_of,
    decode_document,
    key_beside_parent,
    parent_id,
    storable,
)
from persistence.documents import PAGE_BYTES
from persistence.errors import CursorNotFound, StoreUnavailable
from persistence.store import Document, Key, Order, Page

GET = """SELECT section, value, state, labels, version, place, shelf, parent,
    last, rows, bytes, closed, newest FROM objects
    WHERE project=? AND home=? AND bucket=0 AND section>='d:' AND section<'i'"""
BESIDE = f"SELECT value, state, labels, version, place, shelf, parent FROM objects WHERE {AT}"
RANGE = """SELECT id, value, state, labels, version, position, closed_lists, newest FROM objects
    WHERE project=? AND home=? AND bucket=? AND section=? AND label=? AND position>? AND position<?"""
MAIN = """SELECT position, id, value, state, labels, version FROM objects
    WHERE project=? AND home=? AND bucket=? AND section=? AND label='' AND position IN ?"""
LOWEST, HIGHEST = -(2**63), 2**63 - 1


class Reader:
    """Reads at quorum, so every reader sees what a write has acknowledged."""

    def __init__(self, connection: Connection, heads: ListHeads, repair: Repair) -> None:
        self._connection = connection
        self._heads = heads
        self._repair = repair

    async def get(self, key: Key) -> Document | None:
        """Return the document, or None: one statement, which also reads the heads of lists under it.

        Two where a document may be stored with its parent and is not, three if it does not exist.
        """
        if not key.id or not storable(*key):
            return None
        found = await self._find(key)
        if found is None:
            with suppress(StoreUnavailable):  # the answer is known, and this can be done any time
                await self._repair.remove_orphan(key)
        return found

    async def _find(self, key: Key) -> Document | None:
        if parent_id(key.id):
            partition, row_key = key_beside_parent(key)
            rows = await self._connection.run(BESIDE, (*partition, *row_key))
            if rows and rows[0][0] is not None:
                return decode_document(key, rows[0][6] or "", tuple(rows[0][:6]))
        found: Document | None = None
        heads: dict[str, ListHead | None] = {}
        for section, *row in await self._connection.run(GET, (key.project, key.id)):
            name = section[2:]
            if section[0] == "h":
                last, rows, size, closed, newest = row[7:]
                single = ListHead(0, last, rows or 0, size or 0, closed=bool(closed))
                heads[name] = None if (newest or {}).get(name) else single
            elif name == key.collection:
                found = decode_document(key, row[6] or "", tuple(row[:6]))
        if found is not None:
            self._heads.remember_home(key.project, key.id, heads)
        return found

    async def page(
        self,
        project: str,
        collection: str,
        parent: str = "",
        *,
        label: str | None = None,
        after: str | None = None,
        before: str | None = None,
        limit: int = 20,
        order: Order = "desc",
    ) -> Page:
        """Return a page: one statement for a list of one bucket, more for cursors and buckets' edges."""
        key = ListKey(project, collection, parent)
        if not storable(*key, label or ""):
            if after is not None or before is not None:
                raise CursorNotFound(f"{after or before} is not in the list")
            return Page([], has_more=False)
        low, high, bucket = LOWEST, HIGHEST, None
        for cursor, behind in ((after, True), (before, False)):
            if cursor is None:
                continue
            position, cursor_bucket = await self._cursor(key, cursor)
            if (order == "asc") == behind:
                low = max(low, position)
            else:
                high = min(high, position)
            bucket = cursor_bucket if bucket is None else bucket
        backwards = before is not None and after is None
        ascending = (order == "asc") != backwards
        walk = ListScan(self._connection, self._heads, key, label, low, high, ascending=ascending)
        documents = await walk.take(limit + 1, bucket)
        more = walk.full or len(documents) > limit
        documents = documents[:limit]
        if backwards:
            documents.reverse()
        return Page(documents, has_more=more)

    async def after_position(self, key: ListKey, low: int, count: int) -> list[Document]:
        """Return the next documents of a list after a position, in order."""
        bucket = await self._heads.bucket_of(key, low) if low != LOWEST else None
        walk = ListScan(self._connection, self._heads, key, None, low, HIGHEST, ascending=True)
        return await walk.take(count, bucket)

    async def _cursor(self, key: ListKey, id: str) -> tuple[int, int]:
        """Return the position and the bucket of a document of the list."""
        document = await self._find(key.key(id)) if id and storable(id) else None
        if document is not None and document.parent == key.parent:
            return document.position, bucket_of(document)
        if document is None and id and storable(id):
            marked = await self._repair.find_mark(key, id)
            if marked is not None:
                return marked.position, marked.bucket
        raise CursorNotFound(f"{id} is not in the list")


class ListScan:
    """Reads the buckets of a list in one direction, no further than needed.

    `full` is true once a document was left out because of PAGE_BYTES. At most one bucket is
    read beyond it: about 40 MB.
    """

    def __init__(
        self,
        connection: Connection,
        heads: ListHeads,
        key: ListKey,
        label: str | None,
        low: int,
        high: int,
        *,
        ascending: bool,
    ) -> None:
        self._connection = connection
        self._heads = heads
        self._key = key
        self._label = label or ""
        self._low, self._high = low, high
        self._ascending = ascending
        self._size = 0
        self.full = False
        backwards = " ORDER BY section DESC, label DESC, position ASC" if ascending else ""
        self._query = f"{RANGE}{backwards} LIMIT ?"

    async def take(self, count: int, bucket: int | None) -> list[Document]:
        """Return at most `count` documents, from a bucket or from the list's start or end."""
        documents: list[Document] = []
        number: int | None = bucket
        if number is None:
            number, documents = await self._begin(count)
            if number is None:
                return documents
        while len(documents) < count and number is not None and not self.full:
            rows = await self._rows(number, count - len(documents))
            documents += await self._documents(rows, number)
            if len(documents) >= count or self.full:
                break
            number = await self._next(number, rows)
        return documents

    async def _begin(self, count: int) -> tuple[int | None, list[Document]]:
        """Read the first bucket, which names the newest: most lists have no other."""
        rows = await self._rows(0, count)
        newest = (rows[0][7] or {}).get(self._key.collection, 0) if rows else None
        if newest is None:
            newest = (await self._heads.read(self._key)).bucket
        if newest == 0:
            return None, await self._documents(rows, 0)
        if not self._ascending:
            return newest, []
        documents = await self._documents(rows, 0)
        return await self._next(0, rows), documents

    async def _next(self, number: int, rows: Sequence[Any]) -> int | None:
        """Return the next bucket, or None."""
        if not self._ascending and number == 0:
            return None
        if self._label:
            return await self._next_labelled(number)
        if not self._ascending:
            return number - 1
        if rows:
            following = (rows[0][6] or {}).get(self._key.collection)
            return None if following is None else int(following)
        newest = (await self._heads.read(self._key)).bucket
        return number + 1 if newest > number else None

    async def _next_labelled(self, number: int) -> int | None:
        if self._ascending:
            newest = (await self._heads.read(self._key)).bucket
            later = (
                await self._heads.buckets_with_label(self._key, self._label, number, newest + 1)
                if newest > number
                else []
            )
            return min(later, default=None)
        return max(await self._heads.buckets_with_label(self._key, self._label, 0, number), default=0)

    async def _rows(self, number: int, count: int) -> list[Any]:
        partition = self._key.bucket(number)
        section = f"l:{self._key.collection}"
        return await self._connection.run(
            self._query, (*partition, section, self._label, self._low, self._high, count)
        )

    async def _documents(self, rows: Sequence[Any], number: int) -> list[Document]:
        """Return the documents of rows; entries by label that are references are looked up."""
        bodies = {row[5]: tuple(row[:5]) for row in rows}
        if self._label and rows:
            bodies = await self._complete(bodies, rows, number)
        documents = []
        for row in rows:
            kept = bodies.get(row[5])
            if kept is None:  # deleted since
                continue
            id, value, state, labels, version = kept
            size = len(value) + len(state or "")
            self.full = self._size > 0 and self._size + size > PAGE_BYTES
            if self.full:
                break
            self._size += size
            documents.append(
                decode_document(
                    self._key.key(id), self._key.parent, (value, state, labels, version, row[5], number)
                )
            )
        return documents

    async def _complete(self, bodies: dict[int, Any], rows: Sequence[Any], number: int) -> dict[int, Any]:
        if all(row[1] is not None for row in rows):
            return bodies
        found = await self._connection.run(
            MAIN, (*self._key.bucket(number), f"l:{self._key.collection}", [row[5] for row in rows])
        )
        return {
            position: (id, value, state, labels, version)
            for position, id, value, state, labels, version in found
        }
