"""Files of random names beside the database, each named by a row: no id is ever part of a path."""

import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path

from persistence.errors import StoreError, StoreFull, StoreUnavailable

STALE_SECONDS = 24 * 3600
"""Age after which a file that no row names is what a crash left behind."""

COMPANIONS = ("", "-wal", "-shm")
"""What SQLite puts beside a database."""


class Directory:
    """Files two levels deep, so that no directory grows beyond what file systems like."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def new(self) -> str:
        """A name that no file has; its directory exists."""
        name = secrets.token_hex(16)
        parent = self.path_of(name).parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise map_os_error(error, parent) from error
        return name

    def path_of(self, name: str) -> Path:
        """Where the file of a name is."""
        return self.path / name[:2] / name

    def remove(self, name: str) -> None:
        """Delete a file and its companions; none is no error."""
        for companion in COMPANIONS:
            path = self.path / name[:2] / (name + companion)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise map_os_error(error, path) from error

    def stale(self) -> Iterator[str]:
        """Names of the files written so long ago that a row should name them."""
        limit = time.time() - STALE_SECONDS
        for path in self.path.glob("??/*"):
            with suppress(FileNotFoundError):  # another process that opens removed it
                if "-" not in path.name and path.stat().st_mtime < limit:
                    yield path.name


def map_os_error(error: OSError, path: object) -> StoreError:
    """The store's error for the system's."""
    if error.errno in (ENOSPC, EDQUOT, EFBIG):
        return StoreFull(f"{path}: no room left on the device ({error.strerror})")
    return StoreUnavailable(f"{path}: {error.strerror}")
