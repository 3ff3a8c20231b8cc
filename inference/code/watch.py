"""What the processes of a sandbox use, read from /proc on the trusted side."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from inference.code.driver import FOLDER, SCRATCH, SHARED_MEMORY


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of memory that are held by processes alone, their number, and the files in writable folders."""

    memory: int
    processes: int
    files: int


def children(pid: int) -> list[int]:
    """Return the processes that a process started."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    """Return the processes below a process; in a namespace of processes none can leave them."""
    found = children(pid)
    for child in found:
        found += children(child)  # the list grows while it is read
    return found


def usage(pids: list[int]) -> Usage:
    """Return what processes use; the last is one whose root folder can be seen."""
    files = 0
    for folder in (FOLDER, SCRATCH, SHARED_MEMORY):
        with contextlib.suppress(OSError):
            status = os.statvfs(f"/proc/{pids[-1]}/root{folder}")
            files += status.f_files - status.f_ffree
    resident = sum(_kilobytes(pid, "status", RESIDENT) for pid in pids) * 1024
    return Usage(resident, len(pids), files)


def shared_memory(pids: list[int]) -> int:
    """Return the bytes of memory of processes, with a part only of what several of them share; costs more."""
    return sum(_kilobytes(pid, "smaps_rollup", PROPORTIONAL) for pid in pids) * 1024


RESIDENT = ("RssAnon:", "RssShmem:", "VmSwap:")
PROPORTIONAL = ("Pss_Anon:", "Pss_Shmem:", "SwapPss:")


def _kilobytes(pid: int, file: str, names: tuple[str, ...]) -> int:
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(names))
