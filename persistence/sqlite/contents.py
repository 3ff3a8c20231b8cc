"""The bytes of files, as files in a directory beside the database.

A file is written under a random name, synced with its directory, and then named by a row, so a content
exists as a whole or not at all. As a row it would be written twice (WAL and file) and delay other writers.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import apsw

from persistence.errors import ContentNotFound, StoreUnavailable
from persistence.sqlite.database import fetch_one
from persistence.sqlite.directory import Directory, map_os_error
from persistence.sqlite.main import MainDatabase

T = TypeVar("T")

THREADS = 4
PIECE = 512 * 1024
BUFFER = 4 * 1024 * 1024
"""Bytes gathered before a thread is asked to write them: a thread's turn costs more than a small write."""

VECTORS = 512
"""Pieces gathered at most; the system takes 1,024 at once."""


class Contents:
    """Contents as files of a directory, each named by a row; blocking calls run on threads."""

    def __init__(self, directory: Directory, main: MainDatabase) -> None:
        self._directory = directory
        self._main = main
        self._threads: ThreadPoolExecutor

    def open(self) -> None:
        """Create the threads."""
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="contents")

    async def close(self) -> None:
        """Wait for the threads."""
        await asyncio.to_thread(self._threads.shutdown)

    async def write_content(self, project: str, id: str, pieces: AsyncIterator[bytes]) -> int:
        """Write the file first, then its row; then delete the file of an earlier content of the id."""
        name, size = await self._write(pieces)
        old = await self._main.write(lambda connection: set_row(connection, project, id, name, size))
        if old is not None:
            await self._call(self._directory.remove, old)
        return size

    async def read_content(
        self, project: str, id: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """Read the file, 512 kB at a time."""
        sql = "SELECT file, size FROM contents WHERE project=? AND id=?"
        row = self._main.read(lambda connection: fetch_one(connection, sql, (project, id)))
        if row is None:
            raise ContentNotFound(f"no content of {id}")
        name, size = row
        async for piece in self._read(name, start, size if end is None else min(end, size)):
            yield piece

    async def delete_content(self, project: str, id: str) -> None:
        """Delete the row first, then the file."""
        name = await self._main.write(lambda connection: delete_row(connection, project, id), frees=True)
        if name is not None:
            await self._call(self._directory.remove, name)

    async def _write(self, pieces: AsyncIterator[bytes]) -> tuple[str, int]:
        """Write a new file to the disk; its name and size. Nothing is left of it if that fails."""
        name = await self._call(self._directory.new)
        path = self._directory.path_of(name)
        descriptor = await self._call(create, path)
        size = 0
        try:
            async for batch in gather(pieces):
                size += await self._call(write, descriptor, batch)
            await self._call(sync, descriptor, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        return name, size

    async def _read(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield a file's bytes between two offsets; ContentNotFound if it was deleted meanwhile."""
        descriptor = await self._call(open_file, self._directory.path_of(name))
        try:
            while start < end:
                wanted = min(PIECE, end - start)
                piece = await self._call(os.pread, descriptor, wanted, start)
                if not piece:
                    raise StoreUnavailable(f"{self._directory.path_of(name)} is shorter than it was written")
                start += len(piece)
                yield piece
        finally:
            os.close(descriptor)

    async def _call(self, call: Callable[..., T], *arguments: Any) -> T:
        """Run a blocking call to its end even if the task is cancelled: its descriptor is closed next."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
        try:
            return await asyncio.shield(future)
        finally:
            if not future.done():
                await asyncio.wait([future])


async def gather(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Yield pieces in batches of about BUFFER bytes."""
    batch: list[bytes] = []
    size = 0
    async for piece in pieces:
        batch.append(piece)
        size += len(piece)
        if size >= BUFFER or len(batch) == VECTORS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def create(path: Path) -> int:
    """Return the descriptor of a new file."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise map_os_error(error, path) from error


def write(descriptor: int, batch: list[bytes]) -> int:
    """Write all of a batch; how many bytes."""
    size = sum(map(len, batch))
    try:
        written = os.writev(descriptor, batch)
        if written < size:
            rest = memoryview(b"".join(batch))[written:]
            while rest:
                rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        raise map_os_error(error, "contents") from error
    return size


def sync(descriptor: int, path: Path) -> None:
    """Flush the file and its directories to the disk."""
    try:
        os.fsync(descriptor)
        for directory in (path.parent, path.parent.parent):
            entry = os.open(directory, os.O_RDONLY)
            try:
                os.fsync(entry)
            finally:
                os.close(entry)
    except OSError as error:
        raise map_os_error(error, path) from error


def open_file(path: Path) -> int:
    """Return a descriptor to read from."""
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise ContentNotFound("the content was deleted") from error
    except OSError as error:
        raise map_os_error(error, path) from error


def set_row(connection: apsw.Connection, project: str, id: str, name: str, size: int) -> str | None:
    """Set the file of a content; return the name of the earlier file."""
    old = delete_row(connection, project, id)
    connection.execute("INSERT INTO contents VALUES (?,?,?,?)", (project, id, size, name))
    return old


def delete_row(connection: apsw.Connection, project: str, id: str) -> str | None:
    """Delete the row of a content; return the name of its file."""
    sql = "DELETE FROM contents WHERE project=? AND id=? RETURNING file"
    row = fetch_one(connection, sql, (project, id))
    return None if row is None else str(row[0])
