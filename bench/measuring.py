"""What the benches measure with: paired rounds, percentiles, a process's CPU time and memory."""

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
    """Rounds of both, (ours, peer), now the one first and now the other, so that both see the same machine."""
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
    """The median of the pairs' own ratios."""
    return statistics.median(ours / peer for ours, peer in pairs)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True, slots=True)
class Rate:
    """How many requests in how many seconds, and the CPU seconds that the server took for them."""

    count: int
    seconds: float
    cpu: float = 0.0

    @property
    def each_second(self) -> float:
        """Requests a second."""
        return self.count / self.seconds

    @property
    def cpu_each(self) -> float:
        """CPU microseconds of one request."""
        return self.cpu / self.count * 1e6


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time that the processes have taken, in seconds."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


@dataclass(frozen=True, slots=True)
class Memory:
    """A process's memory in bytes: RSS, and PSS, where a page shared by n processes counts an nth."""

    rss: int
    pss: int


def memory(pid: int) -> Memory:
    """What a process has in memory now."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) * 1024
    return Memory(found["Rss"], found["Pss"])


def forget_peak(pid: int) -> None:
    """Begin the measure of `peak_rss` anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_rss(pid: int) -> int:
    """The most memory that a process had at once, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def tree_size(path: Path) -> int:
    """Bytes of a file and of every file whose name begins with its name, directories included."""
    total = 0
    for found in path.parent.glob(path.name + "*"):
        files = found.rglob("*") if found.is_dir() else [found]
        for file in files:
            with suppress(FileNotFoundError):
                total += file.stat().st_size
    return total
