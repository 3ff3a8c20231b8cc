"""Ends calls and streams early: their client disconnects, their key is revoked, or the server stops."""

import asyncio
from typing import Any

from serving.request import Receive

DISCONNECTED = "the client disconnected"
STOPPING = "the server is stopping"
REVOKED = "the key was revoked"

WATCH_AFTER = 0.25
"""Seconds after which a call that is still running is watched for a client that disconnects."""


class Interruptions:
    """Cancels tasks that are no longer of use, with the reason as the message."""

    def __init__(self) -> None:
        self.stopping = False
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def open_requests(self) -> int:
        """How many streams and waiting calls run."""
        return len(self._tasks)

    def stop_after(self, grace: float) -> None:
        """Cancel what still runs after `grace` seconds."""
        self.stopping = True
        asyncio.get_running_loop().call_later(grace, self.stop_at_once)

    def interruptible(self, receive: Receive, *, watch_after: float = 0) -> "Interruptible":
        """Let a block be cancelled when the server stops and, after `watch_after` seconds, by its client."""
        return Interruptible(self._tasks, receive, watch_after)

    def stop_at_once(self) -> None:
        """Cancel what still runs."""
        for task in list(self._tasks):
            task.cancel(STOPPING)


class Interruptible:
    """The context manager of one block; a generator would take twice the time."""

    __slots__ = ("_receive", "_task", "_tasks", "_timer", "_watch_after", "_watcher")

    def __init__(self, tasks: set[asyncio.Task[Any]], receive: Receive, watch_after: float) -> None:
        self._tasks = tasks
        self._receive = receive
        self._watch_after = watch_after
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - the server runs each request in a task
        self._task = task
        self._tasks.add(task)
        # Most responses are ready before a watcher is worth it: a timer costs 1 µs, a task 20.
        self._timer = asyncio.get_running_loop().call_later(self._watch_after, self._watch)

    def __exit__(self, *_: object) -> None:
        self._tasks.discard(self._task)
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _watch(self) -> None:
        self._watcher = asyncio.ensure_future(_cancel_on_disconnect(self._receive, self._task))


async def _cancel_on_disconnect(receive: Receive, task: "asyncio.Task[Any]") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel(DISCONNECTED)
