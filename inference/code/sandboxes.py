"""Starts the sandboxes of a worker, if there can be any, and bounds their memory."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import structlog

from inference.code.driver import Driver, SandboxUnavailable
from inference.code.kernel import Kernel
from inference.code.limits import TIERS, Limits

NUMBERS = 50_000
"""Sandboxes that a machine can have."""

NAME = "astrolabe-sandbox-"

STARTS = max(1, (os.cpu_count() or 2) // 2)
"""Sandboxes that a worker starts at the same time: a start takes a second of CPU time."""

TRIAL_PAUSE = 10.0
"""Seconds after a trial that failed before the next one."""

log = structlog.get_logger("astrolabe.code")


class Sandboxes:
    """Starts sandboxes, none with more memory than `largest` bytes (default: half of the machine's).

    Without a driver there are none.
    """

    def __init__(
        self, driver: Driver | None, *, limits: Limits | None = None, largest: int | None = None
    ) -> None:
        self.problem = "ASTROLABE_SANDBOX is none" if driver is None else driver.missing()
        """Why there can be no sandbox, as far as it is known; `check` finds out."""
        self._driver = driver
        self._limits = limits or Limits()
        self._largest = largest or memory_of_machine() // 2
        self._starts = asyncio.Semaphore(STARTS)
        self._trial: asyncio.Task[str | None] | None = None
        self._next_trial = 0.0

    @property
    def tiers(self) -> dict[str, int]:
        """The memory tiers that are allowed here: bytes by name, the smallest first."""
        return {name: memory for name, memory in TIERS.items() if memory <= self._largest}

    def summary(self) -> str:
        """Return in a line whether code can be run, as far as it is known."""
        if self.problem is not None or self._driver is None:
            return f"off: {self.problem}"
        return f"in sandboxes by {self._driver.name}"

    async def check(self) -> str | None:
        """Return why there can be no sandbox; the first call tries to isolate a process.

        What was missing is looked for again, and a trial that failed is repeated after a while: the operator
        may have run `make sandbox` since.
        """
        if self._driver is None:
            return self.problem
        if self._trial is not None and self._has_failed(self._trial) and time.monotonic() >= self._next_trial:
            self._trial = None
        if self._trial is None:
            self.problem = self._driver.missing()
            if self.problem is not None:
                return self.problem
            self._trial = asyncio.create_task(self._try_out(self._driver))
        self.problem = await asyncio.shield(self._trial)
        return self.problem

    @staticmethod
    def _has_failed(trial: asyncio.Task[str | None]) -> bool:
        return trial.done() and trial.result() is not None

    async def _try_out(self, driver: Driver) -> str | None:
        try:
            await asyncio.to_thread(driver.try_out)
        except SandboxUnavailable as exc:
            log.warning("sandbox_unavailable", driver=driver.name, reason=str(exc))
            self._next_trial = time.monotonic() + TRIAL_PAUSE
            return str(exc)
        return None

    async def start(self, memory_limit: str = "1g") -> Kernel:
        """Start a sandbox with the memory of a tier; raises SandboxUnavailable."""
        problem = await self.check()
        if problem is None and memory_limit not in self.tiers:
            problem = f"memory_limit {memory_limit} is too much: {', '.join(self.tiers)} is allowed here"
        if problem is not None or self._driver is None:
            raise SandboxUnavailable(str(problem))
        number = _Number()
        limits = replace(self._limits, memory=TIERS[memory_limit])
        kernel = Kernel(self._driver, limits, number.value, on_end=number.release)
        try:
            async with self._starts:
                await kernel.start()
        except BaseException:
            number.release()
            raise
        return kernel


def sandboxes_of_machine() -> int:
    """Return how many sandboxes the servers of this machine have, including those that start."""
    with contextlib.suppress(OSError):
        return Path("/proc/net/unix").read_text().count(f" @{NAME}")
    return NUMBERS


class _Number:
    """A number that no other sandbox of this machine has, until it is released or this process ends.

    It is held by a socket of Linux's abstract namespace, which leaves no file behind.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        start = os.getpid() * 64  # where other workers do not look first
        for number in ((start + step) % NUMBERS for step in range(NUMBERS)):
            with contextlib.suppress(OSError):
                self._socket.bind(f"\0{NAME}{number}")
                self.value = number
                return
        self.release()
        raise SandboxUnavailable("all sandbox numbers of this machine are taken")

    def release(self) -> None:
        """Let others have the number."""
        self._socket.close()


def memory_of_machine() -> int:
    """Return the bytes of memory of this machine, or of the container that the server runs in."""
    return min(_memories())


def _memories() -> Iterator[int]:
    yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            yield int(Path("/sys/fs/cgroup", file).read_text())
