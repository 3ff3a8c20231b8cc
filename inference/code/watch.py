"""What the processes of a sandbox use, read from /proc on the trusted side."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from inference.code.driver import FOLDER, SCRATCH, SHARED_MEMORY


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of memory that are held by processes alone, their threads, and the files in writable folders."""

    memory: int
    threads: int
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
            held = os.statvfs(f"/proc/{pids[-1]}/root{folder}")
            files += held.f_files - held.f_ffree
    status = [_lines(pid, "status") for pid in pids]
    threads = sum(_sum(lines, ("Threads:",)) for lines in status)
    return Usage(sum(_sum(lines, RESIDENT) for lines in status) * 1024, threads, files)


def shared_memory(pids: list[int]) -> int:
    """Return the bytes of memory of processes, with a part only of what several of them share; costs more."""
    return sum(_sum(_lines(pid, "smaps_rollup"), PROPORTIONAL) for pid in pids) * 1024


def die_first(pids: list[int]) -> None:
    """Have Linux kill these processes first if the machine runs out of memory: code can undo it."""
    for pid in pids:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/oom_score_adj").write_text("1000")


def lower_priority(pids: list[int]) -> None:
    """Let these processes have little CPU time where others want it.

    A kernel with autogroups shares CPU time between sessions first, and code may start many.
    """
    for pid in pids:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, LOW_PRIORITY)
            Path(f"/proc/{pid}/autogroup").write_text(str(LOW_PRIORITY))


LOW_PRIORITY = 15

RESIDENT = ("RssAnon:", "RssShmem:", "VmSwap:")
PROPORTIONAL = ("Pss_Anon:", "Pss_Shmem:", "SwapPss:")


def _lines(pid: int, file: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:  # it has ended
        return []


def _sum(lines: list[str], names: tuple[str, ...]) -> int:
    return sum(int(line.split()[1]) for line in lines if line.startswith(names))
