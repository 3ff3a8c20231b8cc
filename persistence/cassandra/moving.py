"""Export of a whole store, partition by partition in token order, and import."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import fields
from typing import Any

import orjson

from persistence.cassandra.driver import Connection
from persistence.cassandra.logs import SECTION, Logs
from persistence.cassandra.reading import LOWEST, Reader
from persistence.cassandra.retrieval import NO_SHARD, Chunks
from persistence.cassandra.rows import ImportDocument, ListKey, decode_job
from persistence.cassandra.vector_store_meta import Source, VectorStoreMeta, VectorStoreMetaTable
from persistence.cassandra.vectors import Vectors
from persistence.cassandra.writing import Writer
from persistence.store import (
    Append,
    Chunk,
    Content,
    Delete,
    Document,
    Enqueue,
    FileChunks,
    Job,
    Loadable,
    Record,
)

PAGE = 100
PARTITIONS = 500
"""Partitions' keys read at once."""

HOMES = "SELECT DISTINCT project, home, bucket, logged FROM objects"
SECTIONS = """SELECT section, due, lease, payload FROM objects
    WHERE project=? AND home=? AND bucket=0 AND section>='h:' AND section<'k'"""
CONTENTS = "SELECT project, id, size FROM contents"
STORES = "SELECT DISTINCT project, store FROM sources"
CHUNKS = """SELECT number, text, shard FROM chunks
    WHERE project=? AND store=? AND source=? AND number>? LIMIT 100"""

Marked = tuple[list[Any], Record]


class Mover:
    """Exports and loads everything."""

    def __init__(
        self, connection: Connection, reader: Reader, writer: Writer, logs: Logs, chunks: Chunks
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._writer = writer
        self._logs = logs
        self._chunks = chunks
        self._meta = VectorStoreMetaTable(connection)
        self._vectors = Vectors(connection)

    async def export(self, after: str = "") -> AsyncIterator[tuple[str, Record]]:
        """Yield objects with jobs and logs, then contents, then chunks; ValueError for a foreign mark."""
        tables = {"objects": self._objects, "contents": self._contents, "chunks": self._files}
        table, *place = orjson.loads(after) if after else ["objects"]
        if table not in tables:
            raise ValueError(f"{after!r} is not a mark of this store's export")
        for name in list(tables)[list(tables).index(table) :]:
            async for mark, record in tables[name](place if name == table else []):
                yield orjson.dumps([name, *mark]).decode(), record

    async def _keys(self, query: str, columns: str, after: Sequence[Any]) -> AsyncIterator[tuple[Any, ...]]:
        """Yield the keys of partitions by token, from that of `after` on."""
        if after:
            query += f" WHERE token({columns}) >= token({', '.join('?' for _ in after)})"
        scan = await self._connection.scan(query, tuple(after), PARTITIONS)
        async for rows in scan:
            for row in rows:
                yield row

    # --- objects ---

    async def _objects(self, after: list[Any]) -> AsyncIterator[Marked]:
        """Yield lists in order, and after a partition's lists its jobs and log."""
        start = [*after[:2], 0] if after else []
        async for project, home, bucket, logged in self._keys(HOMES, "project, home, bucket", start):
            if bucket:  # read along with its list
                continue
            here = after if after[:2] == [project, home] else []
            for section, *job in await self._connection.run(SECTIONS, (project, home)):
                if here and section < here[2]:
                    continue
                name = section[2:]
                if section[0] == "j":
                    if job[1] is not None and not (here and section == here[2]):
                        due, lease, payload = job
                        held = decode_job(project, name, home, (due, lease, "", payload, 0))
                        yield [project, home, section, 0], held
                    continue
                low = here[3] if here and section == here[2] else LOWEST
                async for document in self._list(ListKey.at(project, home, name), low):
                    yield [project, home, section, document.position], document
            if logged:
                low = here[3] if here and here[2] == SECTION else -1
                async for sequence, events, lifetime in self._logs.segments(project, home, low):
                    append = Append(project, home, sequence, list(events), lifetime)
                    yield [project, home, SECTION, sequence], append

    async def _list(self, key: ListKey, low: int) -> AsyncIterator[Document]:
        """Yield the documents of a list from their own rows, as an entry can be behind."""
        while listed := await self._reader.after_position(key, low, PAGE):
            for document in await asyncio.gather(*(self._reader.get(each.key) for each in listed)):
                if document is not None:
                    yield document
            low = listed[-1].position

    # --- contents ---

    async def _contents(self, after: list[Any]) -> AsyncIterator[Marked]:
        async for project, id, size in self._keys(CONTENTS, "project, id", after):
            if [project, id] != after:
                yield [project, id], Content(project, id, size)

    # --- chunks ---

    async def _files(self, after: list[Any]) -> AsyncIterator[Marked]:
        async for project, store in self._keys(STORES, "project, store", after[:2]):
            here = after if after[:2] == [project, store] else []
            meta, _ = await self._meta.find(project, store)
            for source in await self._meta.files(project, store):
                if here and source.file < here[2]:
                    continue
                last = here[3] if here and source.file == here[2] else -1
                while chunks := await self._some(meta, source, last):
                    last = chunks[-1].index
                    record = FileChunks(project, store, source.file, chunks, source.attributes)
                    yield [project, store, source.file, last], record

    async def _some(self, meta: VectorStoreMeta, source: Source, after: int) -> list[Chunk]:
        key = (meta.project, meta.store, source.name, after)
        rows = await self._connection.run(CHUNKS, key)

        async def chunk(number: int, text: str, shard: int | None) -> Chunk:
            if shard is None or shard == NO_SHARD:
                return Chunk(number, text)
            return Chunk(number, text, await self._vectors.read(meta, source.name, shard, number))

        return list(await asyncio.gather(*(chunk(*row) for row in rows)))

    # --- loading ---

    async def load(self, records: Sequence[Loadable]) -> None:
        """Write documents in one batch, and jobs and logs at the same time; then chunks."""
        documents = {record.key: record for record in records if isinstance(record, Document)}
        await asyncio.gather(
            self._documents(list(documents.values())),
            *(self._other(record) for record in records if isinstance(record, Append | Job)),
        )
        for record in records:
            if isinstance(record, FileChunks):
                await self._chunks.put_chunks(
                    record.project, record.vector_store, record.file, record.chunks, record.attributes
                )

    async def _documents(self, documents: Sequence[Document]) -> None:
        found = await asyncio.gather(*(self._reader.get(document.key) for document in documents))
        for document in found:
            if document is not None:
                await self._writer.write(Delete(document))
        names = [field.name for field in fields(ImportDocument)]
        imported = (ImportDocument(*(getattr(each, name) for name in names)) for each in documents)
        await self._writer.write(*imported)

    async def _other(self, record: Append | Job) -> None:
        await self._writer.write(Enqueue(record) if isinstance(record, Job) else record)
