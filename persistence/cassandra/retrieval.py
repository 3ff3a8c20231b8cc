"""Chunks of files, with their words and vectors."""

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from weakref import WeakValueDictionary

from persistence.cassandra.driver import Connection, Row, Statement
from persistence.cassandra.postings import Found, Postings, posting_rows
from persistence.cassandra.rows import encode_json, storable
from persistence.cassandra.vector_store_meta import (
    Batch,
    Source,
    VectorStoreMeta,
    VectorStoreMetaTable,
    file_of,
)
from persistence.cassandra.vectors import MOST, StoredVector, Vectors, stored_vectors
from persistence.errors import DimensionMismatch, StoreUnavailable
from persistence.sqlite.terms import Terms
from persistence.store import Attributes, Chunk, Filter, Hit

ROWS = 50
"""Chunks in one statement."""

ATTEMPTS = 50
"""Times that a change of a vector store's totals is tried while others change them."""

PUT = """INSERT INTO chunks (project, store, source, number, text, pile, shard, words)
    VALUES (?,?,?,?,?,?,?,?)"""
READ = "SELECT number, text FROM chunks WHERE project=? AND store=? AND source=? AND number>? LIMIT ?"
SELECT_TEXTS = "SELECT number, text FROM chunks WHERE project=? AND store=? AND source=? AND number IN ?"
WHOLE = "SELECT number, text, pile, shard, words FROM chunks WHERE project=? AND store=? AND source=?"
DROP = "DELETE FROM chunks WHERE project=? AND store=? AND source=?"

NO_SHARD = -1
"""Of a chunk without a vector."""


class Chunks:
    """The chunks of all vector stores."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._meta = VectorStoreMetaTable(connection)
        self._postings = Postings(connection)
        self._vectors = Vectors(connection)
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def _lock(self, project: str, vector_store: str) -> asyncio.Lock:
        """Return this process's lock of a vector store's totals."""
        return self._locks.setdefault((project, vector_store), asyncio.Lock())

    # --- putting ---

    async def put_chunks(
        self, project: str, vector_store: str, file: str, chunks: Sequence[Chunk], attributes: Attributes
    ) -> None:
        """Write chunks: two statements for the totals, then vectors, texts and words."""
        encode_json(dict(attributes))
        dimension = dimension_of(chunks)
        terms = await asyncio.to_thread(terms_of, {chunk.index: chunk.text for chunk in chunks})
        given = [(chunk.index, chunk.vector) for chunk in chunks if chunk.vector is not None]
        vectors = await asyncio.to_thread(stored_vectors, given)
        if dimension is not None:
            await self._vectors.prepare(dimension)
        for _ in range(ATTEMPTS):
            async with self._lock(project, vector_store):
                meta, source = await self._meta.find(project, vector_store, file)
                check_dimension(meta, dimension)
                source = source or Source.new(file)
                replaced = await self._replaced(meta, source, {chunk.index for chunk in chunks})
                putting = ChunkUpdate(meta, source, chunks, attributes, terms, vectors, replaced, dimension)
                kept = self._meta.put_source(meta, putting.source)
                if await self._meta.compare_and_set(meta, putting.meta, [kept]):
                    break
        else:
            raise StoreUnavailable(f"too many writers at vector store {vector_store}")
        await self._delete_replaced(meta, source, replaced)
        await self._write(putting)

    async def _replaced(self, meta: VectorStoreMeta, source: Source, numbers: set[int]) -> list[Row]:
        """Return the chunks of all batches that contain any of the numbers."""
        if not source.batches:
            return []
        rows = await self._all_rows(meta, source)
        touched = {row[2] for row in rows if row[0] in numbers}
        return [row for row in rows if row[2] in touched]

    async def _all_rows(self, meta: VectorStoreMeta, source: Source) -> list[Row]:
        key = (meta.project, meta.store, source.name)
        scan = await self._connection.scan(WHOLE, key, 1000)
        return [row async for rows in scan for row in rows]

    async def _delete_replaced(self, meta: VectorStoreMeta, source: Source, rows: Sequence[Row]) -> None:
        """Delete the words of replaced batches."""
        batches: dict[str, dict[int, str]] = {}
        for number, text, batch, _, _ in rows:
            batches.setdefault(batch, {})[number] = text
        for batch, texts in batches.items():
            if batch in source.batches:
                terms = posting_rows(await asyncio.to_thread(terms_of, texts))
                part = source.batches[batch].part
                await self._postings.drop(meta, part, source.name, batch, terms)

    async def _write(self, putting: "ChunkUpdate") -> None:
        meta, source, batch = putting.meta, putting.source, putting.batch
        key = (meta.project, meta.store, source.name)
        stale = [
            (row[3], row[0])
            for row in putting.replaced
            if row[0] in putting.given and row[3] not in (None, NO_SHARD, putting.shard_of(row[0]))
        ]
        if stale:
            await self._vectors.drop(meta, source.name, stale)
        rows: list[Statement] = [
            (PUT, (*key, number, text, batch, putting.shard_of(number), len(putting.terms[number])))
            for number, text in putting.texts.items()
        ]
        texts = [rows[at : at + ROWS] for at in range(0, len(rows), ROWS)]
        await asyncio.gather(
            self._vectors.put(meta, putting.shard, source.name, putting.vectors, putting.replacing),
            self._postings.put(meta, putting.part, source.name, batch, putting.rows),
            *map(self._connection.run_batch, texts),
        )

    async def set_attributes(
        self, project: str, vector_store: str, file: str, attributes: Attributes
    ) -> None:
        """Set a file's attributes with one transaction."""
        await self._meta.set_attributes(project, vector_store, file, attributes)

    # --- deleting ---

    async def delete_chunks(self, project: str, vector_store: str, file: str | None = None) -> None:
        """Delete a file or everything; words and vectors go first, so that a retry finds the rest."""
        if not storable(project, vector_store, file or ""):
            return
        if file is None:
            await self._delete_all(project, vector_store)
            return
        for _ in range(ATTEMPTS):
            meta, source = await self._meta.find(project, vector_store, file)
            if source is None:
                return
            rows = await self._all_rows(meta, source)
            await self._delete_replaced(meta, source, rows)
            await self._vectors.drop_source(meta, source)
            await self._connection.run(DROP, (project, vector_store, source.name))
            async with self._lock(project, vector_store):
                meta, again = await self._meta.find(project, vector_store, file)
                if again != source:
                    continue
                words = sum(row[4] or 0 for row in rows)
                after = meta.grow(size=0, dimension=None, rows=0, chunks=-source.chunks, words=-words)
                if await self._meta.compare_and_set(meta, after, [self._meta.drop_source(meta, file)]):
                    return
        raise StoreUnavailable(f"too many writers at vector store {vector_store}")

    async def _delete_all(self, project: str, vector_store: str) -> None:
        meta, _ = await self._meta.find(project, vector_store)
        if not meta.version:
            return
        sources = await self._meta.files(project, vector_store)
        await self._postings.delete(meta)
        await self._vectors.delete(meta)
        for source in sources:
            await self._connection.run(DROP, (project, vector_store, source.name))
        await self._meta.delete(meta)

    # --- reading ---

    async def read_chunks(
        self, project: str, vector_store: str, file: str, after: int = -1, limit: int = 100
    ) -> list[Chunk]:
        """Return chunks of a file in order: two statements."""
        if not storable(project, vector_store, file):
            return []
        _, source = await self._meta.find(project, vector_store, file)
        if source is None:
            return []
        rows = await self._connection.run(READ, (project, vector_store, source.name, after, limit))
        return [Chunk(number, text) for number, text in rows]

    async def search_text(
        self, project: str, vector_store: str, query: str, limit: int, filter: Filter | None = None
    ) -> list[Hit]:
        """Return the best by BM25: a statement for the totals, each term and part, and each file of a hit."""
        if not storable(project, vector_store):
            return []
        terms = Terms().of_query(query[:100_000])
        meta, _ = await self._meta.find(project, vector_store)
        if not terms or not meta.version:
            return []
        allowed = None
        if filter is not None:
            sources = await self._meta.files(project, vector_store, filter)
            allowed = frozenset(source.name for source in sources)
        return await self._hits(meta, await self._postings.search(meta, terms, allowed), limit)

    async def search_vectors(
        self,
        project: str,
        vector_store: str,
        vector: Sequence[float],
        limit: int,
        filter: Filter | None = None,
    ) -> list[Hit]:
        """Return the nearest by cosine: a statement for the totals, each shard, and each file of a hit."""
        if not storable(project, vector_store):
            return []
        meta, _ = await self._meta.find(project, vector_store)
        if meta.dimension is None:
            return []
        check_dimension(meta, len(vector))
        if not any(vector):
            return []
        allowed = None if filter is None else await self._meta.files(project, vector_store, filter)
        wanted = limit
        while True:
            found = await self._vectors.search(meta, vector, wanted, allowed)
            hits = await self._hits(meta, found, limit)
            if len(hits) == limit or len(found) < wanted or wanted >= MOST:
                return hits
            wanted *= 4  # some were of deleted chunks

    async def _hits(self, meta: VectorStoreMeta, found: Iterable[Found], limit: int) -> list[Hit]:
        """Return the first hits that still exist, with their texts: a statement for each file."""
        hits: list[Hit] = []
        ordered = iter(found)
        while len(hits) < limit and (part := list(islice(ordered, limit - len(hits)))):
            texts = await self._texts(meta, part)
            hits += [
                Hit(file_of(source), number, texts[source, number], score)
                for source, number, score in part
                if texts.get((source, number)) is not None
            ]
        return hits

    async def _texts(self, meta: VectorStoreMeta, found: Sequence[Found]) -> dict[tuple[str, int], str]:
        numbers: dict[str, list[int]] = {}
        for source, number, _ in found:
            numbers.setdefault(source, []).append(number)
        key = (meta.project, meta.store)
        parts = await asyncio.gather(
            *(self._connection.run(SELECT_TEXTS, (*key, source, some)) for source, some in numbers.items())
        )
        return {
            (source, number): text
            for source, rows in zip(numbers, parts, strict=True)
            for number, text in rows
        }


class ChunkUpdate:
    """The changes of a put: new chunks, and those that shared a batch with replaced ones."""

    def __init__(
        self,
        meta: VectorStoreMeta,
        source: Source,
        chunks: Sequence[Chunk],
        attributes: Attributes,
        terms: Mapping[int, Sequence[str]],
        vectors: Sequence[StoredVector],
        replaced: Sequence[Row],
        dimension: int | None,
    ) -> None:
        self.batch = secrets.token_hex(4)
        self.replaced = replaced
        self.replacing = {row[0] for row in replaced}
        self.given = {chunk.index for chunk in chunks}
        self.texts = {chunk.index: chunk.text for chunk in chunks}
        self.vectors = vectors
        self._with_vector = {vector.number for vector in vectors}
        self._shards = {row[0]: row[3] for row in replaced if row[0] not in self.given}
        survivors = {row[0]: row[1] for row in replaced if row[0] not in self.given}
        self.texts |= survivors
        self.terms = {**terms, **terms_of(survivors)}
        self.rows = posting_rows(self.terms)
        before = sum(row[4] or 0 for row in replaced)
        self.meta = meta.grow(
            size=sum(vector.size(source.name) for vector in vectors),
            dimension=dimension,
            rows=len(self.rows),
            chunks=len(self.texts) - len(replaced),
            words=sum(map(len, self.terms.values())) - before,
        )
        self.shard, self.part = self.meta.shard, self.meta.part
        deleted = {row[2] for row in replaced}
        batches = {name: batch for name, batch in source.batches.items() if name not in deleted}
        if self.texts:
            batches[self.batch] = Batch(len(self.texts), self.part, self.shard)
        for shard in set(self._shards.values()) - {None, NO_SHARD, self.shard}:
            batches[f"{self.batch}.{shard}"] = Batch(0, self.part, shard)
        self.source = replace(source, attributes=dict(attributes), batches=batches)

    def shard_of(self, number: int) -> int:
        """Return the shard of a chunk's vector."""
        if number in self._shards:
            return int(self._shards[number])
        return self.shard if number in self._with_vector else NO_SHARD


def terms_of(texts: Mapping[int, str]) -> dict[int, list[str]]:
    """Return the terms of texts."""
    terms = Terms()
    return {number: terms.of(text) for number, text in texts.items()}


def dimension_of(chunks: Sequence[Chunk]) -> int | None:
    """Return the length of the chunks' vectors; DimensionMismatch if they differ."""
    lengths = {len(chunk.vector) for chunk in chunks if chunk.vector is not None}
    if len(lengths) > 1:
        raise DimensionMismatch(f"vectors of {min(lengths)} and of {max(lengths)} numbers in one file")
    return lengths.pop() if lengths else None


def check_dimension(meta: VectorStoreMeta, dimension: int | None) -> None:
    """Raise DimensionMismatch unless vectors of that length fit the vector store."""
    if dimension is not None and meta.dimension not in (None, dimension):
        raise DimensionMismatch(
            f"a vector of {dimension} numbers, where those of {meta.store} have {meta.dimension}"
        )
