"""Files of one request on disk, for as long as the request takes."""

import asyncio
import errno
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from persistence.errors import StoreFull

PIECE = 256 * 1024
"""Bytes that are read at once."""

FOLDER = "/var/tmp"  # noqa: S108 - the file has no name there
"""Where the files are if TMPDIR names no folder: unlike /tmp, which is often in memory, it is on disk."""


class Spool:
    """Keeps the files of a request one after the other in one file without a name.

    The file is gone when it is closed, also if the process is killed. `hold` is called with the size of
    each piece before it is written.
    """

    def __init__(self, hold: Callable[[int], None]) -> None:
        self._hold = hold
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()
        self._is_closed = False
        self.size = 0

    async def write(self, data: bytes) -> None:
        """Append bytes; StoreFull if the disk has no room for them."""
        self._hold(len(data))
        try:
            await asyncio.to_thread(self._append, data)
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFull("the folder of temporary files is full") from exc
            raise

    async def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` to `end`."""
        while start < end:
            piece = await asyncio.to_thread(self._piece, start, min(PIECE, end - start))
            if not piece:
                return
            start += len(piece)
            yield piece

    def close(self) -> None:
        """Delete the file."""
        with self._lock:
            self._is_closed = True
            if self._file is not None:
                self._file.close()

    def _append(self, data: bytes) -> None:
        with self._lock:
            if self._is_closed:
                return
            if self._file is None:
                self._file = _unnamed_file()
            self._file.seek(self.size)
            self._file.write(data)
            self._file.flush()
            self.size += len(data)

    def _piece(self, start: int, size: int) -> bytes:
        with self._lock:
            if self._is_closed or self._file is None:
                return b""
            self._file.seek(start)
            return self._file.read(size)


def _unnamed_file() -> BinaryIO:
    if not os.environ.get("TMPDIR"):
        with suppress(OSError):
            return tempfile.TemporaryFile(dir=FOLDER)
    return tempfile.TemporaryFile()


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """A file of a form, on disk until the end of its request."""

    spool: Spool
    start: int
    size: int
    filename: str
    content_type: str

    def pieces(self) -> AsyncIterator[bytes]:
        """Yield the file's bytes."""
        return self.spool.read(self.start, self.start + self.size)
