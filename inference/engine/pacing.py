"""Shares the event loop between busy runs and everything else."""

import asyncio
from collections import deque


class Pacer:
    """Lets one of the waiting tasks continue in each turn of the event loop.

    However many runs have events to record, a request of another client waits for one of them at a time.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def pause(self) -> None:
        """Wait for this task's turn."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(future)
        if len(self._waiting) == 1:
            loop.call_soon(self._release_next)
        await future

    def _release_next(self) -> None:
        future = self._waiting.popleft()
        if not future.done():  # its task was cancelled
            future.set_result(None)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._release_next)
