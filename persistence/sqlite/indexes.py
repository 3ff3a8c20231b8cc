"""The databases of vector stores' chunks, and the threads that work on them.

A database per vector store: its words are ranked among themselves, other vector stores cost it nothing,
ingestion blocks no other writer, and deleting it deletes a file.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from persistence.errors import StoreUnavailable
from persistence.sqlite import index
from persistence.sqlite.database import fetch_one, migrate
from persistence.sqlite.directory import Directory
from persistence.sqlite.main import MainDatabase
from persistence.sqlite.pool import DatabaseDeleted, Pool
from persistence.sqlite.schema import INDEX
from persistence.store import Attributes, Chunk, Filter, Hit

if TYPE_CHECKING:
    from persistence.sqlite.vector_cache import VectorCache

THREADS = 4
T = TypeVar("T")


class Indexes:
    """Runs functions over a vector store's database, on threads; `capacity` limits vectors in memory."""

    def __init__(self, directory: Directory, main: MainDatabase, capacity: int) -> None:
        self._directory = directory
        self._main = main
        self._capacity = capacity
        self._pool = Pool(directory)
        self._threads: ThreadPoolExecutor
        self._vector_cache: VectorCache | None = None

    def open(self) -> None:
        """Create the threads."""
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="index")

    async def put_chunks(
        self, project: str, vector_store: str, file: str, chunks: Sequence[Chunk], attributes: Attributes
    ) -> None:
        """Write in one transaction of the vector store's database, which the first call creates."""
        if self._locate(project, vector_store) is None:
            await self.create(project, vector_store)
        work = partial(index.put, file=file, chunks=chunks, attributes=attributes)
        await self.run_in(project, vector_store, work, None)

    async def set_attributes(
        self, project: str, vector_store: str, file: str, attributes: Attributes
    ) -> None:
        """Write one row, however many chunks the file has."""
        work = partial(index.set_attributes, file=file, attributes=attributes)
        await self.run_in(project, vector_store, work, None)

    async def delete_chunks(self, project: str, vector_store: str, file: str | None = None) -> None:
        """Delete rows of a file, or the database of the vector store."""
        if file is None:
            await self.drop(project, vector_store)
        else:
            await self.run_in(project, vector_store, partial(index.delete, file=file), None)

    async def read_chunks(
        self, project: str, vector_store: str, file: str, after: int = -1, limit: int = 100
    ) -> Sequence[Chunk]:
        """Read a range of an index."""
        work = partial(index.read, file=file, after=after, limit=limit)
        return await self.run_in(project, vector_store, work, [])

    async def search_text(
        self, project: str, vector_store: str, query: str, limit: int, filter: Filter | None = None
    ) -> Sequence[Hit]:
        """Rank by FTS5's BM25 within the vector store's own database."""
        work = partial(index.search_text, query=query, limit=limit, filter=filter)
        return await self.run_in(project, vector_store, work, [])

    async def search_vectors(
        self,
        project: str,
        vector_store: str,
        vector: Sequence[float],
        limit: int,
        filter: Filter | None = None,
    ) -> Sequence[Hit]:
        """Compare every vector, in memory."""
        work = partial(self.vector_cache().search, vector=vector, limit=limit, filter=filter)
        return await self.run_in(project, vector_store, work, [])

    def _locate(self, project: str, vector_store: str) -> str | None:
        """Return the name of a vector store's database, or None if it has no chunks."""
        return self._main.read(lambda connection: locate(connection, project, vector_store))

    async def run_in(
        self, project: str, vector_store: str, work: Callable[[apsw.Connection], T], default: T
    ) -> T:
        """Return the result of `work` on a vector store's database, or `default` if it has none."""
        name = self._locate(project, vector_store)
        if name is None:
            return default
        try:
            return await self.run(name, work)
        except DatabaseDeleted as error:
            if self._locate(project, vector_store) != name:
                return default
            path = self._directory.path_of(name)
            raise StoreUnavailable(
                f"{path} is missing; restore it together with {self._main.path}"
            ) from error

    # --- databases ---

    async def run(self, name: str, work: Callable[[apsw.Connection], T]) -> T:
        """Return the result of `work` on a database; DatabaseDeleted if there is none."""
        return await self._call(self._run, name, work)

    async def create(self, project: str, vector_store: str) -> None:
        """Create a vector store's database, unless another process was faster."""
        new = await self._call(self._make)
        name = await self._main.write(partial(register, project=project, vector_store=vector_store, name=new))
        if name != new:
            await self._call(self._directory.remove, new)

    async def drop(self, project: str, vector_store: str) -> None:
        """Delete a vector store's database; none is no error."""
        row = partial(unregister, project=project, vector_store=vector_store)
        name = await self._main.write(row, frees=True)
        if name is not None:
            if self._vector_cache is not None:
                self._vector_cache.evict(str(self._directory.path_of(name)))
            await self._call(self._directory.remove, name)
            self._pool.sweep()

    def vector_cache(self) -> "VectorCache":
        """Return the vectors in memory; the first search among them loads numpy."""
        if self._vector_cache is None:
            from persistence.sqlite.vector_cache import VectorCache  # noqa: PLC0415

            self._vector_cache = VectorCache(self._capacity)
        return self._vector_cache

    async def close(self) -> None:
        """Wait for what is under way, then close every connection."""
        await asyncio.to_thread(self._threads.shutdown)
        self._pool.close()

    async def _call(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)

    def _run(self, name: str, work: Callable[[apsw.Connection], T]) -> T:
        with self._pool.connection(name) as connection:
            return work(connection)

    def _make(self) -> str:
        name = self._directory.new()
        migrate(self._directory.path_of(name), INDEX)
        return name


def locate(connection: apsw.Connection, project: str, vector_store: str) -> str | None:
    """Return the name of a vector store's database."""
    sql = "SELECT file FROM vector_stores WHERE project=? AND id=?"
    row = fetch_one(connection, sql, (project, vector_store))
    return None if row is None else str(row[0])


def register(connection: apsw.Connection, project: str, vector_store: str, name: str) -> str:
    """Record the name of a vector store's database unless it has one; return the recorded name."""
    sql = "INSERT OR IGNORE INTO vector_stores VALUES (?,?,?)"
    connection.execute(sql, (project, vector_store, name))
    return locate(connection, project, vector_store) or name


def unregister(connection: apsw.Connection, project: str, vector_store: str) -> str | None:
    """Delete the record of a vector store's database; return its name."""
    sql = "DELETE FROM vector_stores WHERE project=? AND id=? RETURNING file"
    row = fetch_one(connection, sql, (project, vector_store))
    return None if row is None else str(row[0])
