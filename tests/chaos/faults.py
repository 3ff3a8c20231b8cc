"""Kill, pause and restart a server at random times that a seed decides."""

import asyncio
import contextlib
import os
import random
import signal
import time
from pathlib import Path

from inference.limits import MAX_TAKEOVERS
from tests.provider import ProviderProcess
from tests.server import Server

PAUSE = 13.0
"""Seconds for which a worker is paused: longer than its lease of ten."""

LEAST_GAP = 0.5
"""Seconds between two faults, at least."""


def attacked_server(folder: Path, provider: ProviderProcess, seconds: float) -> Server:
    """A server of three workers that bears more takeovers of a job than the faults can cause.

    Last attempts at jobs are made one after another: two hundred of them would take minutes.
    """
    environment = {
        "OPENAI_API_KEY": "sk-provider",
        "OPENAI_BASE_URL": provider.url,
        "ASTROLABE_GRACE": "1",
        "ASTROLABE_MAX_TAKEOVERS": str(max(MAX_TAKEOVERS, int(seconds / LEAST_GAP) + 4)),
    }
    return Server(folder, workers=3, **environment)


class FaultInjector:
    """Injects faults and records when; `record` has a line for each."""

    def __init__(self, server: Server, seed: int) -> None:
        self.record: list[str] = []
        self._server = server
        self._random = random.Random(seed)
        self._started = self._last = time.monotonic()
        self._paused: set[int] = set()

    @property
    def seconds_of_calm(self) -> float:
        """Seconds since the last fault, or since the server was up again."""
        return time.monotonic() - self._last

    async def inject(self, seconds: float) -> None:
        """Inject each kind of fault once, in random order, then random ones until the time is over."""
        kinds = [self._kill_worker, self._pause_worker, self._restart, self._crash]
        ordered = self._random.sample(kinds, len(kinds))
        weighted = [self._kill_worker, self._kill_worker, self._kill_worker, *kinds]
        pauses: list[asyncio.Task[None]] = []
        while ordered or time.monotonic() - self._started < seconds:
            await asyncio.sleep(self._random.uniform(LEAST_GAP, 3.0))
            fault = ordered.pop() if ordered else self._random.choice(weighted)
            if fault == self._pause_worker:
                pauses.append(asyncio.create_task(self._pause_worker()))
            else:
                await fault()
        await asyncio.gather(*pauses)

    async def _kill_worker(self) -> None:
        self._signal(self._some_worker(), signal.SIGKILL, "kill worker")

    async def _pause_worker(self) -> None:
        pid = self._some_worker()
        self._signal(pid, signal.SIGSTOP, "stop worker")
        self._paused.add(pid)
        await asyncio.sleep(PAUSE)
        self._paused.discard(pid)
        self._signal(pid, signal.SIGCONT, "continue worker")

    async def _restart(self) -> None:
        self._add("restart: SIGTERM")
        for pid in self._paused:  # a stopped process does not hear a SIGTERM
            self._signal(pid, signal.SIGCONT, "continue worker")
        await asyncio.to_thread(self._server.stop)
        await asyncio.to_thread(self._server.start)
        self._add("up")

    async def _crash(self) -> None:
        self._add("crash: SIGKILL to all")
        await asyncio.to_thread(self._server.kill)
        await asyncio.to_thread(self._server.start)
        self._add("up")

    def _some_worker(self) -> int:
        workers = [pid for pid in self._server.workers() if pid not in self._paused]
        return self._random.choice(workers) if workers else 0

    def _signal(self, pid: int, number: signal.Signals, what: str) -> None:
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                self._add(f"{what} {pid}")

    def _add(self, what: str) -> None:
        self._last = time.monotonic()
        self.record.append(f"{self._last - self._started:6.1f} s  {what}")
