"""How the process returns memory to the system."""

import asyncio
import contextlib
import ctypes
import os
from pathlib import Path

M_MMAP_THRESHOLD = -3
"""Option of glibc's mallopt(3)."""

LARGE = 1 << 20
"""Bytes from which on a block is allocated by itself, and returned to the system once it is free."""

INTERVAL = 2.0
"""Seconds between two looks at the memory in use."""

GROWTH = 16 * 1024 * 1024
"""Bytes by which the process has to have grown to be trimmed."""

_STATM = Path("/proc/self/statm")


def return_large_blocks() -> None:
    """Have glibc return large blocks when they are freed; other C libraries do so, or have no such option.

    By default glibc raises its threshold to 32 MB as blocks are freed: bodies of many megabytes then stay
    with the worker for ever.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)


class MemoryTrimmer:
    """Returns free small blocks to the system while the process is larger than it was; needs Linux and glibc.

    By itself glibc keeps a free block if one that was allocated later is in use, so that a worker stays as
    large as under its largest load. Trimming takes about 10 ms for 100 MB, and no time where little is free.
    """

    def __init__(self) -> None:
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if _STATM.exists() else None
        self._task: asyncio.Task[None] | None = None
        self._least = 0

    async def open(self) -> None:
        """Begin to look at the memory in use."""
        if self._trim is not None:
            self._least = resident_bytes()
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()

    async def trim_if_grown(self) -> None:
        """Return free memory to the system if the process has grown by GROWTH since it was smallest."""
        now = resident_bytes()
        self._least = min(self._least, now)
        if self._trim is not None and now - self._least >= GROWTH:
            await asyncio.to_thread(self._trim, 0)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            await self.trim_if_grown()


def resident_bytes() -> int:
    """Return the process's memory in use."""
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
