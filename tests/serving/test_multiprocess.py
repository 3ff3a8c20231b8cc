"""The folders of metrics: one a server, gone with it, found again by none."""

import fcntl
import os
from pathlib import Path

from serving.multiprocess import FRESH_SECONDS, PREFIX, remove_left_behind


def folder(parent: Path, name: str, *, age: float) -> Path:
    made = parent / f"{PREFIX}{name}"
    made.mkdir()
    (made / "counter_1.db").touch()
    then = made.stat().st_mtime - age
    os.utime(made, (then, then))
    return made


def test_only_the_folders_of_dead_servers_are_removed(tmp_path: Path) -> None:
    dead, alive = (folder(tmp_path, name, age=2 * FRESH_SECONDS) for name in ("dead", "alive"))
    starting, others = folder(tmp_path, "starting", age=0), tmp_path / "others"
    others.mkdir()
    lock = os.open(alive, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_left_behind(tmp_path)
    finally:
        os.close(lock)
    assert not dead.exists()
    assert alive.exists()
    assert starting.exists()
    assert others.exists()
