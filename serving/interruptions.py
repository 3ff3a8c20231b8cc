"""Ends calls and streams early: when their client hangs up, or when the server stops."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from serving.request import Receive

HUNG_UP = "the client hung up"
STOPPING = "the server is stopping"
REVOKED = "the key was revoked"

WATCH_AFTER = 0.25
"""Seconds after which a call that is still running is watched for a client that hung up."""


class Interruptions:
    """Tasks that are cancelled, with HUNG_UP or STOPPING as the message, when they are of no use."""

    def __init__(self) -> None:
        self.stopping = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def stop_after(self, grace: float) -> None:
        """Cancel what still runs after `grace` seconds."""
        self.stopping = True
        asyncio.get_running_loop().call_later(grace, self._cancel)

    @contextmanager
    def interruptible(self, receive: Receive, *, watch_after: float = 0) -> Iterator[None]:
        """Let the block be cancelled at the server's stop and, `watch_after` seconds on, by its client."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - the server runs each request in a task
        loop = asyncio.get_running_loop()
        watchers: list[asyncio.Task[None]] = []

        def watch() -> None:
            watchers.append(loop.create_task(_cancel_on_hang_up(receive, task)))

        # Most answers are there before a watcher would pay: a timer costs 1 µs, a task 20.
        timer = loop.call_later(watch_after, watch)
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)
            timer.cancel()
            for watcher in watchers:
                watcher.cancel()

    def _cancel(self) -> None:
        for task in list(self._tasks):
            task.cancel(STOPPING)


async def _cancel_on_hang_up(receive: Receive, task: "asyncio.Task[Any]") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel(HUNG_UP)
