"""Threads that read a file, each over its own connection, so that long reads do not block the loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw

from persistence.sqlite.database import connect
from persistence.sqlite.errors import mapped_errors

T = TypeVar("T")


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
                self._local.connection = connect(self._path)
                self._connections.append(self._local.connection)
            return read(self._local.connection)
