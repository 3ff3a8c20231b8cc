"""A lock between the processes of a machine, granted in the order of requests."""

import fcntl
import os
from pathlib import Path
from types import TracebackType

from persistence.sqlite.directory import map_os_error


class FairLock:
    """A lock on a file, for which the kernel queues processes first come, first served.

    SQLite's own lock is polled, so a process that commits all the time nearly always gets it. Measured with
    two processes of 50 tasks and of 1: half the median time of a write, and 1.7 times the writes. SQLite's
    lock still protects the file.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise map_os_error(error, path) from error

    def __enter__(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(
        self, type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
