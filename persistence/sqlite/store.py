"""The embedded store: one SQLite file in WAL mode, shared by all workers of a machine."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import apsw

from persistence.errors import (
    ContentNotFound,
    CursorNotFound,
    StoreRefused,
    StoreUnavailable,
)
from persistence.sqlite import database, index, moving
from persistence.sqlite.contents import Contents
from persistence.sqlite.database import fetch_one
from persistence.sqlite.directory import Directory
from persistence.sqlite.documents import Documents
from persistence.sqlite.errors import map_error, mapped_errors
from persistence.sqlite.indexes import Indexes, locate
from persistence.sqlite.jobs import Jobs
from persistence.sqlite.logs import Logs
from persistence.sqlite.pool import DatabaseDeleted
from persistence.sqlite.readers import Readers
from persistence.sqlite.schema import MAIN
from persistence.sqlite.writer import Writer
from persistence.store import (
    Append,
    Attributes,
    Cancel,
    Check,
    Chunk,
    Clear,
    Delete,
    Document,
    Enqueue,
    FileChunks,
    Filter,
    Finish,
    Hit,
    Hold,
    Insert,
    Job,
    Key,
    Loadable,
    Operation,
    Order,
    Page,
    Record,
    Replace,
    Reschedule,
    Store,
)

LOOP_ROWS = 100
"""Rows that are read in the loop's own thread: a page of 20 takes less than handing it to another."""

EXPORTED_CHUNKS = 100
"""Chunks in one record of an export."""

VECTOR_MEMORY = 512 * 1024 * 1024

T = TypeVar("T")


class SQLiteStore(Store):
    """Point reads run in the loop's thread, writes on one thread, long reads and files on others.

    Beside the file `path` lie the directories `path`-contents, with the bytes of files, and
    `path`-indexes, with the chunks of vector stores. `clock` gives seconds since the epoch;
    `vector_memory` bounds the bytes of vectors that a process keeps in memory.
    """

    atomic_writes = True

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        vector_memory: int = VECTOR_MEMORY,
    ) -> None:
        self._path = path
        self._vector_memory = vector_memory
        self._content_files = Directory(Path(f"{path}-contents"))
        self._index_files = Directory(Path(f"{path}-indexes"))
        self._documents = Documents(clock)
        self._jobs = Jobs(clock)
        self._logs = Logs(clock)
        self._operations: dict[type[Operation], Callable[[apsw.Connection, Any], Document | None]] = {
            Insert: self._documents.insert,
            Replace: self._documents.replace,
            Delete: self._documents.delete,
            Clear: self._documents.clear,
            Check: self._documents.check,
            Enqueue: self._jobs.enqueue,
            Hold: self._jobs.hold,
            Finish: self._jobs.finish,
            Reschedule: self._jobs.reschedule,
            Cancel: self._jobs.cancel,
            Append: self._logs.append,
        }
        self._connection: apsw.Connection | None = None
        self._writer: Writer
        self._readers: Readers
        self._threads: ThreadPoolExecutor
        self._contents: Contents
        self._indexes: Indexes

    # --- life ---

    async def migrate(self) -> None:
        """Make the file and its directory, or bring the schema up to date."""
        await asyncio.to_thread(self._migrate)

    def _migrate(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreRefused(f"{self._path.parent} cannot be made: {error.strerror}") from error
        database.migrate(self._path, MAIN)

    async def open(self) -> None:
        """Connect, and clear away what a crash left of contents that were never finished."""
        if not self._path.exists():
            raise StoreRefused(f"{self._path} does not exist: `astrolabe migrate` makes it")
        with mapped_errors(self._path):
            connection = database.connect(self._path)
            version = database.check(connection, MAIN, self._path)
        if version < MAIN.version:
            connection.close()
            raise StoreRefused(
                f"{self._path} has schema {version}, this one needs {MAIN.version}: run `astrolabe migrate`"
            )
        with mapped_errors(self._path):
            self._writer = Writer(self._path)
        self._connection = connection
        self._readers = Readers(self._path, 2)
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="contents")
        self._contents = Contents(self._content_files, self._threads)
        self._indexes = Indexes(self._index_files, self._writer, self._vector_memory)
        await self._readers.run(self._sweep)

    async def close(self) -> None:
        """Finish the writes that were asked for, then close every connection and thread."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._indexes.close()
            await self._writer.close()
            await self._readers.close()
            await asyncio.to_thread(self._threads.shutdown)
            connection.close()

    async def ping(self) -> None:
        """Read the file's header, where it still is."""
        self._read(lambda connection: connection.pragma("user_version"))
        self._writer.place.check()

    def _read(self, read: Callable[[apsw.Connection], T]) -> T:
        """A read in the loop's thread."""
        if self._connection is None:
            raise StoreUnavailable(f"{self._path} is not open")
        try:
            return read(self._connection)
        except apsw.Error as error:
            raise map_error(error, self._path) from error

    def _sweep(self, connection: apsw.Connection) -> None:
        """Remove what a crash left: stale files that no row names."""
        for directory, table in ((self._content_files, "contents"), (self._index_files, "vector_stores")):
            for name in directory.stale():
                if fetch_one(connection, f"SELECT 1 FROM {table} WHERE file=?", (name,)) is None:  # noqa: S608
                    directory.remove(name)

    # --- documents ---

    async def get(self, key: Key) -> Document | None:
        """One step into the index of ids."""
        try:
            return self._read(lambda connection: self._documents.get(connection, key))
        except UnicodeEncodeError:  # a lone surrogate: such an id was never stored
            return None

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
        """One range of the index of lists, whatever the list's length."""
        arguments = (project, collection, parent, label, after, before, limit, order)
        read = partial(page, self._documents, arguments)
        try:
            return self._read(read) if limit <= LOOP_ROWS else await self._readers.run(read)
        except UnicodeEncodeError as error:
            raise CursorNotFound(f"{after or before!r} is not in the list") from error

    async def write(self, *operations: Operation) -> list[Document]:
        """One savepoint in a transaction shared with whatever else is waiting."""
        return await self._writer.run(partial(self._apply, operations))

    def _apply(self, operations: Sequence[Operation], connection: apsw.Connection) -> list[Document]:
        documents = (self._operations[type(operation)](connection, operation) for operation in operations)
        return [document for document in documents if document is not None]

    # --- jobs ---

    async def take_jobs(
        self, kind: str, owner: str, lease: float, limit: int, skipped: Collection[str] = ()
    ) -> Sequence[Job]:
        """A read where nothing is due, else one transaction."""
        if not self._read(lambda connection: self._jobs.due(connection, kind, skipped)):
            return []
        return await self._writer.run(
            lambda connection: self._jobs.take(connection, kind, owner, lease, limit, skipped)
        )

    async def renew_job(self, job: Job, lease: float) -> Job:
        """One update."""
        return await self._writer.run(lambda connection: self._jobs.renew(connection, job, lease))

    # --- logs ---

    async def read_log(
        self, project: str, id: str, after: int = -1, limit: int = 1000
    ) -> Sequence[tuple[int, bytes]]:
        """A range of segments."""
        return self._read(lambda connection: self._logs.read(connection, project, id, after, limit))

    async def sweep(self) -> None:
        """Several short transactions."""
        while await self._writer.run(self._logs.drop):
            pass

    # --- contents ---

    async def write_content(self, project: str, id: str, pieces: AsyncIterator[bytes]) -> int:
        """The file first, then the row that names it; bytes of an earlier content of the id go."""
        name, size = await self._contents.write(pieces)
        old = await self._writer.run(lambda connection: set_content_row(connection, project, id, name, size))
        if old is not None:
            await asyncio.to_thread(self._content_files.remove, old)
        return size

    async def read_content(
        self, project: str, id: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """The file's bytes, 512 kB at a time."""
        sql = "SELECT file, size FROM contents WHERE project=? AND id=?"
        row = self._read(lambda connection: fetch_one(connection, sql, (project, id)))
        if row is None:
            raise ContentNotFound(f"no content of {id}")
        name, size = row
        async for piece in self._contents.read(name, start, size if end is None else min(end, size)):
            yield piece

    async def delete_content(self, project: str, id: str) -> None:
        """The row first, then the file."""
        name = await self._writer.run(lambda connection: delete_content_row(connection, project, id))
        if name is not None:
            await asyncio.to_thread(self._content_files.remove, name)

    # --- chunks ---

    async def put_chunks(
        self, project: str, vector_store: str, file: str, chunks: Sequence[Chunk], attributes: Attributes
    ) -> None:
        """One transaction of the vector store's own database, which the first call makes."""
        if self._locate(project, vector_store) is None:
            await self._indexes.create(project, vector_store)
        work = partial(index.put, file=file, chunks=chunks, attributes=attributes)
        await self._in_index(project, vector_store, work, None)

    async def set_attributes(
        self, project: str, vector_store: str, file: str, attributes: Attributes
    ) -> None:
        """One row, however many chunks the file has."""
        work = partial(index.set_attributes, file=file, attributes=attributes)
        await self._in_index(project, vector_store, work, None)

    async def delete_chunks(self, project: str, vector_store: str, file: str | None = None) -> None:
        """Rows of a file, or the database of the vector store."""
        if file is None:
            await self._indexes.drop(project, vector_store)
        else:
            await self._in_index(project, vector_store, partial(index.delete, file=file), None)

    async def read_chunks(
        self, project: str, vector_store: str, file: str, after: int = -1, limit: int = 100
    ) -> Sequence[Chunk]:
        """A range of an index."""
        work = partial(index.read, file=file, after=after, limit=limit)
        return await self._in_index(project, vector_store, work, [])

    async def search_text(
        self, project: str, vector_store: str, query: str, limit: int, filter: Filter | None = None
    ) -> Sequence[Hit]:
        """FTS5's BM25 within the vector store's own database."""
        work = partial(index.search_text, query=query, limit=limit, filter=filter)
        return await self._in_index(project, vector_store, work, [])

    async def search_vectors(
        self,
        project: str,
        vector_store: str,
        vector: Sequence[float],
        limit: int,
        filter: Filter | None = None,
    ) -> Sequence[Hit]:
        """Every vector is compared, in memory."""
        work = partial(self._indexes.vector_cache().search, vector=vector, limit=limit, filter=filter)
        return await self._in_index(project, vector_store, work, [])

    def _locate(self, project: str, vector_store: str) -> str | None:
        """The database of a vector store, if it has chunks."""
        return self._read(lambda connection: locate(connection, project, vector_store))

    async def _in_index(
        self, project: str, vector_store: str, work: Callable[[apsw.Connection], T], default: T
    ) -> T:
        """What `work` makes of a vector store's database, or `otherwise` where there is none (any more)."""
        name = self._locate(project, vector_store)
        if name is None:
            return default
        try:
            return await self._indexes.run(name, work)
        except DatabaseDeleted as error:
            if self._locate(project, vector_store) != name:
                return default
            path = self._index_files.path_of(name)
            raise StoreUnavailable(f"{path} is missing; restore it together with {self._path}") from error

    # --- moving ---

    async def export(self, after: str = "") -> AsyncIterator[tuple[str, Record]]:
        """Table by table, the chunks of vector stores last."""
        table, place = moving.place(after)
        names = [name for name, _ in moving.TABLES]
        for name, read in moving.TABLES[names.index(table) if table in names else len(names) :]:
            while part := await self._readers.run(partial(read, place)):
                for place, record in part:
                    yield moving.mark(name, place), record
            place = []
        async for end, chunks in self._export_chunks(place):
            yield moving.mark(moving.CHUNKS, end), chunks

    async def _export_chunks(
        self, after: moving.Position
    ) -> AsyncIterator[tuple[moving.Position, FileChunks]]:
        """Vector store by vector store, file by file, in batches."""
        for project, id in await self._readers.run(partial(moving.vector_stores, after=after)):
            file, number = after[2:] if after[:2] == [project, id] else ("", -1)
            while True:
                work = partial(index.export, file=file, number=number, limit=EXPORTED_CHUNKS)
                found = await self._in_index(project, id, work, None)
                if found is None:
                    break
                file, chunks, attributes = found
                number = chunks[-1].index
                yield [project, id, file, number], FileChunks(project, id, file, chunks, attributes)

    async def load(self, records: Sequence[Loadable]) -> None:
        """Rows in one transaction, then chunks."""
        rows = [record for record in records if not isinstance(record, FileChunks)]
        if rows:
            await self._writer.run(partial(self._load, rows))
        for record in records:
            if isinstance(record, FileChunks):
                await self.put_chunks(
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


def page(documents: Documents, arguments: tuple[Any, ...], connection: apsw.Connection) -> Page:
    """A page over whichever connection."""
    return documents.page(connection, *arguments)


def set_content_row(connection: apsw.Connection, project: str, id: str, name: str, size: int) -> str | None:
    """Make a file the content of an id; the name of the file that was."""
    old = delete_content_row(connection, project, id)
    connection.execute("INSERT INTO contents VALUES (?,?,?,?)", (project, id, size, name))
    return old


def delete_content_row(connection: apsw.Connection, project: str, id: str) -> str | None:
    """Remove the row of a content; the name of its file."""
    sql = "DELETE FROM contents WHERE project=? AND id=? RETURNING file"
    row = fetch_one(connection, sql, (project, id))
    return None if row is None else str(row[0])
