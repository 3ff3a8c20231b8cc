"""Measuring: paired rounds, percentiles, CPU time and memory of processes."""

import os
import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

TICKS = os.sysconf("SC_CLK_TCK")
MEGABYTE = 1_000_000

T = TypeVar("T")


def alternate(rounds: int, ours: Callable[[], T], peer: Callable[[], T]) -> list[tuple[T, T]]:
    """Return rounds of (ours, peer), alternating which runs first, so that both see the same machine."""
    pairs = []
    for place in range(rounds):
        if place % 2 == 0:
            first = ours()
            pairs.append((first, peer()))
        else:
            first = peer()
            pairs.append((ours(), first))
    return pairs


def median_ratio(pairs: Iterable[tuple[float, float]]) -> float:
    """Return the median of the pairs' ratios."""
    return statistics.median(ours / peer for ours, peer in pairs)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of the values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests, the seconds they took, and the CPU seconds of the server."""

    count: int
    seconds: float
    cpu: float = 0.0

    @property
    def each_second(self) -> float:
        """Return requests per second."""
        return self.count / self.seconds

    @property
    def cpu_each(self) -> float:
        """Return CPU microseconds per request."""
        return self.cpu / self.count * 1e6


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the user and system time of the processes in seconds."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


@dataclass(frozen=True, slots=True)
class Memory:
    """A process's memory in bytes: RSS, and PSS, which counts a page that n processes share as 1/n."""

    rss: int
    pss: int


def memory(pid: int) -> Memory:
    """Return the present memory of a process."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) * 1024
    return Memory(found["Rss"], found["Pss"])


def reset_peak(pid: int) -> None:
    """Reset the measure of `peak_rss`."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_rss(pid: int) -> int:
    """Return the highest memory of a process so far, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def tree_size(path: Path) -> int:
    """Return the bytes of a path and of every path that starts with it, directories included."""
    total = 0
    for found in path.parent.glob(path.name + "*"):
        files = found.rglob("*") if found.is_dir() else [found]
        for file in files:
            with suppress(FileNotFoundError):
                total += file.stat().st_size
    return total
