"""The folder of files through which a server's workers add up their metrics.

prometheus_client keeps a file for each kind of metric and process. Here a worker's files bear the
number of its place among the workers, not its process id: the worker that comes after a dead one
counts on in its files, so that they stay as few as the workers.
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
    """The files of this server; the same again when gunicorn reads its configuration anew."""
    return MetricsFiles(Path(tempfile.gettempdir()))


class MetricsFiles:
    """Made in gunicorn's master before the application, which finds them by PROMETHEUS_MULTIPROC_DIR."""

    def __init__(self, parent: Path) -> None:
        remove_left_behind(parent)
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self.place = 0
        """The place of this process; 0 is the master's."""
        # Held until the last process of this server has ended, however it ends.
        self._lock = os.open(self.folder, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # Read by prometheus_client at its import, so that it must not come earlier.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self.folder)
        from prometheus_client import values  # noqa: PLC0415

        values.ValueClass = values.MultiProcessValue(lambda: self.place)  # type: ignore[no-untyped-call]

    def free_place(self, taken: Iterable[int]) -> int:
        """The lowest place that no living worker has."""
        others = set(taken)
        return next(place for place in count(1) if place not in others)

    def vacate(self, place: int) -> None:
        """Forget what a dead worker had open; what it has counted stays."""
        from prometheus_client import multiprocess  # noqa: PLC0415

        multiprocess.mark_process_dead(place)  # type: ignore[no-untyped-call]

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def remove_left_behind(parent: Path) -> None:
    """Remove the folders of servers that were killed: nobody holds their lock any more."""
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
