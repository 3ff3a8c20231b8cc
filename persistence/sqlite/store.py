"""The embedded store: one SQLite file in WAL mode, shared by all workers of a machine."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from persistence.errors import CursorNotFound, StoreRefused
from persistence.large_json import LARGE_BYTES
from persistence.sqlite import database
from persistence.sqlite.contents import Contents
from persistence.sqlite.database import Row, fetch_one
from persistence.sqlite.directory import Directory
from persistence.sqlite.documents import Documents, decode, decode_rows, row_size
from persistence.sqlite.indexes import Indexes
from persistence.sqlite.jobs import Jobs
from persistence.sqlite.logs import Logs
from persistence.sqlite.main import MainDatabase
from persistence.sqlite.moving import Mover
from persistence.sqlite.reserve import frees
from persistence.sqlite.schema import MAIN
from persistence.store import (
    Append,
    Cancel,
    Check,
    Clear,
    Delete,
    Document,
    Enqueue,
    Finish,
    Hold,
    Insert,
    Job,
    Key,
    Operation,
    Order,
    Page,
    Replace,
    Reschedule,
)

LOOP_ROWS = 100
"""Rows that are read in the loop's own thread: a page of 20 takes less than handing it to another."""

VECTOR_MEMORY = 512 * 1024 * 1024


class SQLiteStore:
    """The Store on a file, for the workers of one machine.

    The directories `path`-contents and `path`-indexes hold the bytes of files and the chunks of vector
    stores. `clock` gives seconds since the epoch; `vector_memory` limits the bytes of vectors in memory.
    """

    atomic_writes = True

    def __init__(
        self, path: Path, *, clock: Callable[[], float] = time.time, vector_memory: int = VECTOR_MEMORY
    ) -> None:
        self._path = path
        self._database = main = MainDatabase(path)
        self._content_files = Directory(Path(f"{path}-contents"))
        self._index_files = Directory(Path(f"{path}-indexes"))
        self._documents = documents = Documents(clock)
        self._jobs = jobs = Jobs(clock)
        self._logs = logs = Logs(clock)
        self._operations: dict[type[Operation], Callable[[apsw.Connection, Any], Document | None]] = {
            Insert: documents.insert,
            Replace: documents.replace,
            Delete: documents.delete,
            Clear: documents.clear,
            Check: documents.check,
            Enqueue: jobs.enqueue,
            Hold: jobs.hold,
            Finish: jobs.finish,
            Reschedule: jobs.reschedule,
            Cancel: jobs.cancel,
            Append: logs.append,
        }
        self._is_open = False
        self._contents = contents = Contents(self._content_files, main)
        self._indexes = indexes = Indexes(self._index_files, main, vector_memory)
        mover = Mover(main, documents, jobs, logs, indexes)
        self.write_content = contents.write_content
        self.read_content = contents.read_content
        self.delete_content = contents.delete_content
        self.put_chunks = indexes.put_chunks
        self.set_attributes = indexes.set_attributes
        self.delete_chunks = indexes.delete_chunks
        self.read_chunks = indexes.read_chunks
        self.search_text = indexes.search_text
        self.search_vectors = indexes.search_vectors
        self.export = mover.export
        self.load = mover.load

    # --- life ---

    async def migrate(self) -> bool:
        """Create the file and its directory, or bring the schema up to date; return whether it is new."""
        return await asyncio.to_thread(self._migrate)

    def _migrate(self) -> bool:
        is_new = not self._path.exists()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreRefused(f"{self._path.parent} cannot be created: {error.strerror}") from error
        database.migrate(self._path, MAIN)
        return is_new

    async def open(self) -> None:
        """Connect, and delete what a crash left of contents that were never finished."""
        await self._database.open()
        self._contents.open()
        self._indexes.open()
        self._is_open = True
        await self._database.read_in_thread(self._remove_stale_files)

    async def close(self) -> None:
        """Finish the queued writes, then close every connection and thread."""
        if self._is_open:
            self._is_open = False
            await self._indexes.close()
            await self._contents.close()
            await self._database.close()

    async def ping(self) -> None:
        """Read the file's header, where it still is."""
        self._database.ping()

    def _remove_stale_files(self, connection: apsw.Connection) -> None:
        for directory, table in ((self._content_files, "contents"), (self._index_files, "vector_stores")):
            for name in directory.stale():
                if fetch_one(connection, f"SELECT 1 FROM {table} WHERE file=?", (name,)) is None:  # noqa: S608
                    directory.remove(name)

    # --- documents ---

    async def get(self, key: Key) -> Document | None:
        """Look the document up in the index of ids."""
        try:
            row = self._database.read(lambda connection: self._documents.get(connection, key))
        except UnicodeEncodeError:  # a lone surrogate: such an id was never stored
            return None
        if row is None:
            return None
        if row_size(row) < LARGE_BYTES:
            return decode(key.project, key.collection, row)
        (document,) = await decode_rows(key.project, key.collection, [row])
        return document

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
        """Read one range of the index of lists, whatever the list's length."""

        def read(connection: apsw.Connection) -> tuple[list[Row], bool]:
            place = (project, collection, parent, label, after, before, limit, order)
            return self._documents.page(connection, *place)

        try:
            rows, has_more = (
                self._database.read(read) if limit <= LOOP_ROWS else await self._database.read_in_thread(read)
            )
        except UnicodeEncodeError as error:
            raise CursorNotFound(f"{after or before!r} is not in the list") from error
        return Page(await decode_rows(project, collection, rows), has_more)

    async def write(self, *operations: Operation) -> list[Document]:
        """Apply the operations in one savepoint of a transaction that waiting writes share."""
        return await self._database.write(partial(self._apply, operations), frees=frees(operations))

    def _apply(self, operations: Sequence[Operation], connection: apsw.Connection) -> list[Document]:
        documents = (self._operations[type(operation)](connection, operation) for operation in operations)
        return [document for document in documents if document is not None]

    # --- jobs ---

    async def take_jobs(
        self, kind: str, owner: str, lease: float, limit: int, skipped: Collection[str] = ()
    ) -> Sequence[Job]:
        """Read if a job is due; take it in one transaction."""
        if not self._database.read(lambda connection: self._jobs.due(connection, kind, skipped)):
            return []
        return await self._database.write(
            lambda connection: self._jobs.take(connection, kind, owner, lease, limit, skipped), frees=True
        )

    async def renew_job(self, job: Job, lease: float) -> Job:
        """Update one row."""
        renew = partial(self._jobs.renew, job=job, lease=lease)
        return await self._database.write(renew, frees=True)

    # --- logs ---

    async def read_log(
        self, project: str, id: str, after: int = -1, limit: int = 1000
    ) -> Sequence[tuple[int, bytes]]:
        """Read a range of segments."""
        return self._database.read(lambda connection: self._logs.read(connection, project, id, after, limit))

    async def sweep(self) -> None:
        """Delete expired logs in several short transactions, and files that a crash left behind."""
        while await self._database.write(self._logs.drop, frees=True):
            pass
        await self._database.read_in_thread(self._remove_stale_files)
