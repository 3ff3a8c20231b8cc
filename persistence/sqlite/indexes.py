"""Which database holds the chunks of which vector store, and the threads that work on them.

Each vector store has a database of its own: its words are weighed among themselves, what other
vector stores hold costs it nothing, ingesting keeps no other writer waiting, and deleting it is
deleting a file.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from persistence.sqlite.database import fetch_one, migrate
from persistence.sqlite.directory import Directory
from persistence.sqlite.pool import Pool
from persistence.sqlite.schema import INDEX
from persistence.sqlite.writer import Writer

if TYPE_CHECKING:
    from persistence.sqlite.vector_cache import VectorCache

THREADS = 4
T = TypeVar("T")


class Indexes:
    """Runs functions over a vector store's database, on threads; `capacity` bounds vectors in memory."""

    def __init__(self, directory: Directory, writer: Writer, capacity: int) -> None:
        self._directory = directory
        self._writer = writer
        self._capacity = capacity
        self._pool = Pool(directory)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="index")
        self._vector_cache: VectorCache | None = None

    async def run(self, name: str, work: Callable[[apsw.Connection], T]) -> T:
        """What `work` makes of a database; Gone if it is."""
        return await self._call(self._run, name, work)

    async def create(self, project: str, vector_store: str) -> None:
        """Give a vector store a database, unless another process was faster."""
        new = await self._call(self._make)
        name = await self._writer.run(partial(register, project=project, vector_store=vector_store, name=new))
        if name != new:
            await self._call(self._directory.remove, new)

    async def drop(self, project: str, vector_store: str) -> None:
        """Delete a vector store's database; none is no error."""
        name = await self._writer.run(partial(unregister, project=project, vector_store=vector_store))
        if name is not None:
            if self._vector_cache is not None:
                self._vector_cache.evict(str(self._directory.path_of(name)))
            await self._call(self._directory.remove, name)
            self._pool.sweep()

    def vector_cache(self) -> "VectorCache":
        """The vectors in memory; numpy is loaded by the first search among them."""
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
    """The name of a vector store's database."""
    sql = "SELECT file FROM vector_stores WHERE project=? AND id=?"
    row = fetch_one(connection, sql, (project, vector_store))
    return None if row is None else str(row[0])


def register(connection: apsw.Connection, project: str, vector_store: str, name: str) -> str:
    """Note the name of a vector store's database unless it has one; the one it has."""
    sql = "INSERT OR IGNORE INTO vector_stores VALUES (?,?,?)"
    connection.execute(sql, (project, vector_store, name))
    return locate(connection, project, vector_store) or name


def unregister(connection: apsw.Connection, project: str, vector_store: str) -> str | None:
    """Forget which database a vector store has; its name."""
    sql = "DELETE FROM vector_stores WHERE project=? AND id=? RETURNING file"
    row = fetch_one(connection, sql, (project, vector_store))
    return None if row is None else str(row[0])
