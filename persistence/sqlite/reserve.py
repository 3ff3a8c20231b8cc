"""Room on the disk that is kept free for deletes: they need some before they give any back."""

import os
from pathlib import Path

from persistence.errors import StoreFull
from persistence.sqlite.directory import map_os_error
from persistence.store import Append, Cancel, Clear, Delete, Finish, Insert, Operation

SIZE = 4 * 1024 * 1024
"""Bytes; a delete writes about 50 kB."""


class Reserve:
    """A file beside the database, which is removed when a delete finds no room.

    While it is missing, only writes that free something are done, so that nothing else takes its room.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def restore(self) -> None:
        """Create the file if it is missing; raise StoreFull if there is no room for it."""
        if os.access(self._path, os.F_OK):  # for each write: a quarter of the time of Path.exists
            return
        try:
            with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                file.write(bytes(SIZE))
        except OSError as error:
            self.release()
            raise map_os_error(error, self._path) from error

    def release(self) -> None:
        """Give the room back to the disk."""
        self._path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise StoreFull if there is no room for anything beside the file, or not even for it."""
        self.restore()
        disk = os.statvfs(self._path)
        if disk.f_bavail * disk.f_frsize < SIZE:
            raise StoreFull(f"{self._path.parent}: less than {SIZE} bytes are left on the device")


def frees(operations: tuple[Operation, ...]) -> bool:
    """Return whether a write deletes something and adds nothing that a client asked for."""
    kinds = {type(operation) for operation in operations}
    return bool(kinds & {Delete, Clear, Finish, Cancel}) and not kinds & {Insert, Append}
