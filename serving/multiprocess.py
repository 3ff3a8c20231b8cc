"""The folder of files through which a server's workers add up their metrics.

prometheus_client keeps a file for each kind of metric and process. Here a worker's files bear the
number of its slot among the workers, not its process id: the worker that replaces a dead one
continues its files, so that there are never more files than workers.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from functools import cache
from itertools import count
from pathlib import Path

PREFIX = "astrolabe-metrics-"
FRESH_SECONDS = 60.0
"""Age below which a folder may belong to a server that has not locked it yet."""


@cache
def metrics_files() -> "MetricsFiles":
    """Return the files of this server; the same ones when gunicorn reads its configuration again."""
    return MetricsFiles(Path(tempfile.gettempdir()))


class MetricsFiles:
    """Made in gunicorn's master before the application, which finds them by PROMETHEUS_MULTIPROC_DIR."""

    def __init__(self, parent: Path) -> None:
        remove_left_behind(parent)
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self.slot = 0
        """The slot of this process; 0 is the master's."""
        # Held until the last process of this server has ended, however it ends.
        self._lock = os.open(self.folder, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # Read by prometheus_client at its import, so that it must not come earlier.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self.folder)
        from prometheus_client import values  # noqa: PLC0415

        values.ValueClass = values.MultiProcessValue(lambda: self.slot)  # type: ignore[no-untyped-call]

    def free_slot(self, taken: Iterable[int]) -> int:
        """Return the lowest slot that no living worker has."""
        others = set(taken)
        return next(slot for slot in count(1) if slot not in others)

    def release(self, slot: int) -> None:
        """Drop the gauges of a dead worker; what it has counted stays."""
        from prometheus_client import multiprocess  # noqa: PLC0415

        multiprocess.mark_process_dead(slot)  # type: ignore[no-untyped-call]

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def remove_left_behind(parent: Path) -> None:
    """Remove the folders of servers that were killed: no process holds their lock any more."""
    for folder in parent.glob(PREFIX + "*"):
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except OSError:  # another user's, or gone
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - folder.stat().st_mtime > FRESH_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(descriptor)
