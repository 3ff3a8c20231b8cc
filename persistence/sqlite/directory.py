"""Files with random names beside the database, each named by a row: no id is part of a path."""

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
    """Files two levels deep, so that no directory grows too large for its file system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def new(self) -> str:
        """Return an unused name; its directory exists."""
        name = secrets.token_hex(16)
        parent = self.path_of(name).parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise map_os_error(error, parent) from error
        return name

    def path_of(self, name: str) -> Path:
        """Return the path of a name."""
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
        """Yield the names of files so old that a row should name them."""
        limit = time.time() - STALE_SECONDS
        for path in self.path.glob("??/*"):
            with suppress(FileNotFoundError):  # another process that opens removed it
                if "-" not in path.name and path.stat().st_mtime < limit:
                    yield path.name


def map_os_error(error: OSError, path: object) -> StoreError:
    """Return the store's error for one of the system's."""
    if error.errno in (ENOSPC, EDQUOT, EFBIG):
        return StoreFull(f"{path}: no room left on the device ({error.strerror})")
    return StoreUnavailable(f"{path}: {error.strerror}")
