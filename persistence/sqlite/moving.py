"""Export of a whole store, table by table in the order of an index, and import."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import apsw
import orjson

from persistence.sqlite import index
from persistence.sqlite.database import Row, fetch_all
from persistence.sqlite.documents import COLUMNS, Documents, decode
from persistence.sqlite.indexes import Indexes
from persistence.sqlite.jobs import Jobs
from persistence.sqlite.logs import Logs, unpack
from persistence.sqlite.main import MainDatabase
from persistence.store import Append, Content, Document, Enqueue, FileChunks, Job, Loadable, Record

EXPORTED_CHUNKS = 100
"""Chunks in one record of an export."""

BATCH = 200
"""Rows read at once."""

Position = list[Any]
"""Where in a table a record is; what comes behind it is the rest."""

Batch = list[tuple[Position, Record]]


def documents(after: Position, connection: apsw.Connection) -> Batch:
    """Return documents list by list, in order."""
    sql = f"""SELECT c.project, c.collection, d.collection_id, {COLUMNS}
        FROM documents d JOIN collections c USING (collection_id)
        WHERE (d.collection_id, d.parent, d.position)>(?,?,?)
        ORDER BY d.collection_id, d.parent, d.position LIMIT ?"""  # noqa: S608
    rows = fetch_all(connection, sql, (*(after or (-1, "", 0)), BATCH))
    found = [(row[2], decode(row[0], row[1], row[3:])) for row in rows]
    return [
        ([collection_id, document.parent, document.position], document) for collection_id, document in found
    ]


def jobs(after: Position, connection: apsw.Connection) -> Batch:
    """Return jobs, without their holders."""
    sql = """SELECT project, kind, id, due, token, payload FROM jobs
        WHERE (project, kind, id)>(?,?,?) ORDER BY project, kind, id LIMIT ?"""
    rows = fetch_all(connection, sql, (*(after or ("", "", "")), BATCH))
    return [
        ([project, kind, id], Job(project, kind, id, due, token, "", orjson.loads(payload)))
        for project, kind, id, due, token, payload in rows
    ]


def logs(after: Position, connection: apsw.Connection) -> Batch:
    """Return segments log by log, in order."""
    sql = """SELECT log, project, id, sequence, events, until FROM logs JOIN segments USING (log)
        WHERE (log, sequence)>(?,?) ORDER BY log, sequence LIMIT ?"""
    rows = fetch_all(connection, sql, (*(after or (-1, 0)), BATCH))
    now = time.time()
    return [
        ([log, sequence], Append(project, id, sequence, list(unpack(events)), max(until - now, 0.0)))
        for log, project, id, sequence, events, until in rows
    ]


def contents(after: Position, connection: apsw.Connection) -> Batch:
    """Return the contents that exist, without their bytes."""
    sql = "SELECT project, id, size FROM contents WHERE (project, id)>(?,?) ORDER BY project, id LIMIT ?"
    rows = fetch_all(connection, sql, (*(after or ("", "")), BATCH))
    return [([project, id], Content(project, id, size)) for project, id, size in rows]


TABLES: Sequence[tuple[str, Callable[[Position, apsw.Connection], Batch]]] = (
    ("documents", documents),
    ("jobs", jobs),
    ("logs", logs),
    ("contents", contents),
)
"""What is exported from the main file, in this order; the chunks of vector stores come last."""
CHUNKS = "chunks"


def vector_stores(connection: apsw.Connection, after: Position) -> list[Row]:
    """Return (project, id) of vector stores from a position on."""
    sql = "SELECT project, id FROM vector_stores WHERE (project, id)>=(?,?) ORDER BY project, id"
    return fetch_all(connection, sql, tuple((after or ("", ""))[:2]))


def mark(table: str, position: Position) -> str:
    """Return a position as callers store it."""
    return orjson.dumps([table, *position]).decode()


def parse_mark(mark: str) -> tuple[str, Position]:
    """Return the table and the position of a mark; ValueError for a foreign mark."""
    if not mark:
        return TABLES[0][0], []
    table, *after = orjson.loads(mark)
    if table != CHUNKS and table not in dict(TABLES):
        raise ValueError(f"{mark!r} is not a mark of this store's export")
    return table, after


class Mover:
    """Exports and loads everything."""

    def __init__(
        self, main: MainDatabase, documents: Documents, jobs: Jobs, logs: Logs, indexes: Indexes
    ) -> None:
        self._main = main
        self._documents = documents
        self._jobs = jobs
        self._logs = logs
        self._indexes = indexes

    async def export(self, after: str = "") -> AsyncIterator[tuple[str, Record]]:
        """Yield records table by table, the chunks of vector stores last."""
        table, position = parse_mark(after)
        names = [name for name, _ in TABLES]
        for name, read in TABLES[names.index(table) if table in names else len(names) :]:
            while part := await self._main.read_in_thread(partial(read, position)):
                for position, record in part:
                    yield mark(name, position), record
            position = []
        async for end, chunks in self._export_chunks(position):
            yield mark(CHUNKS, end), chunks

    async def _export_chunks(self, after: Position) -> AsyncIterator[tuple[Position, FileChunks]]:
        """Yield chunks in batches, vector store by vector store and file by file."""
        for project, id in await self._main.read_in_thread(partial(vector_stores, after=after)):
            file, number = after[2:] if after[:2] == [project, id] else ("", -1)
            while True:
                work = partial(index.export, file=file, number=number, limit=EXPORTED_CHUNKS)
                found = await self._indexes.run_in(project, id, work, None)
                if found is None:
                    break
                file, chunks, attributes = found
                number = chunks[-1].index
                yield [project, id, file, number], FileChunks(project, id, file, chunks, attributes)

    async def load(self, records: Sequence[Loadable]) -> None:
        """Write rows in one transaction, then chunks."""
        rows = [record for record in records if not isinstance(record, FileChunks)]
        if rows:
            await self._main.write(partial(self._load, rows))
        for record in records:
            if isinstance(record, FileChunks):
                await self._indexes.put_chunks(
                    record.project, record.vector_store, record.file, record.chunks, record.attributes
                )

    def _load(self, rows: Sequence[Document | Job | Append], connection: apsw.Connection) -> None:
        for record in rows:
            if isinstance(record, Document):
                self._documents.put(connection, record)
            elif isinstance(record, Job):
                self._jobs.enqueue(connection, Enqueue(replace(record, owner="")))
            else:
                self._logs.append(connection, record)
