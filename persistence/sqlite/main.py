"""The connections of one process to the main file."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw

from persistence.errors import StoreFull, StoreRefused, StoreUnavailable
from persistence.sqlite import database
from persistence.sqlite.errors import map_error, mapped_errors
from persistence.sqlite.reserve import Reserve
from persistence.sqlite.schema import MAIN
from persistence.sqlite.writer import Writer

T = TypeVar("T")


class MainDatabase:
    """Short reads run in the event loop's thread, writes in one thread, long reads in two others."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reserve = Reserve(Path(f"{path}-reserve"))
        self._connection: apsw.Connection | None = None
        self._writer: Writer
        self._readers: Readers

    async def open(self) -> None:
        """Connect; StoreRefused where the file or its newest schema is missing."""
        if not self.path.exists():
            raise StoreRefused(f"{self.path.absolute()} does not exist: run `astrolabe migrate` to create it")
        with mapped_errors(self.path):
            connection = database.connect(self.path)
            version = database.check(connection, MAIN, self.path)
        if version < MAIN.version:
            connection.close()
            raise StoreRefused(
                f"{self.path} has schema {version}, this one needs {MAIN.version}: run `astrolabe migrate`"
            )
        with mapped_errors(self.path):
            self._writer = Writer(self.path)
        self._readers = Readers(self.path, 2)
        self._connection = connection

    async def close(self) -> None:
        """Finish the queued writes, then close every connection and thread."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._writer.close()
            await self._readers.close()
            connection.close()

    def ping(self) -> None:
        """Read the file's header and check that the file was not replaced."""
        self.read(lambda connection: connection.pragma("user_version"))
        self._writer.file.check()
        self._reserve.check()

    def read(self, read: Callable[[apsw.Connection], T]) -> T:
        """Read in the event loop's thread."""
        connection = self._opened()
        try:
            return read(connection)
        except apsw.Error as error:  # costs less than the context manager on each GET
            raise map_error(error, self.path) from error

    async def read_in_thread(self, read: Callable[[apsw.Connection], T]) -> T:
        """Read in a reader's thread."""
        self._opened()
        return await self._readers.run(read)

    async def write(self, work: Callable[[apsw.Connection], T], *, frees: bool = False) -> T:
        """Write in a transaction that other writes share.

        A write that `frees` room may use the reserve on a full disk; others need a disk with a reserve.
        """
        self._opened()
        if not frees:
            self._reserve.restore()
        try:
            return await self._writer.run(work)
        except StoreFull:
            if not frees:
                raise
            self._reserve.release()
            return await self._writer.run(work)

    def _opened(self) -> apsw.Connection:
        if self._connection is None:
            raise StoreUnavailable(f"{self.path} is not open")
        return self._connection


class Readers:
    """Connections that are opened when a thread first reads, and closed with the threads."""

    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        self._local = threading.local()
        self._connections: list[apsw.Connection] = []
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"reader of {path.name}")

    async def run(self, read: Callable[[apsw.Connection], T]) -> T:
        """Return the result of `read` on a connection."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, read)

    async def close(self) -> None:
        """Wait for reads in progress, then close."""
        await asyncio.to_thread(self._threads.shutdown)
        for connection in self._connections:
            connection.close()

    def _read(self, read: Callable[[apsw.Connection], T]) -> T:
        with mapped_errors(self._path):
            if not hasattr(self._local, "connection"):
                self._local.connection = database.connect(self._path)
                self._connections.append(self._local.connection)
            return read(self._local.connection)
