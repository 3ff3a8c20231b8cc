"""Delivers a run's events to the clients that are connected to the process that writes them."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from persistence.store import LOG_LIFETIME, Append

BACKLOG = 1000
"""Events that wait for a slow client, at most; one that is further behind reads the log instead."""


class NumberedFrame(NamedTuple):
    """An event as clients get it, and its number; `ends` if it is the last of a stream."""

    number: int
    data: bytes
    ends: bool = False


class Reader:
    """Reads a run's frames in the process that writes them."""

    def __init__(self) -> None:
        self._waiting: deque[NumberedFrame] = deque()
        self._arrived = asyncio.Event()
        self._over = False

    def put(self, frames: Sequence[NumberedFrame]) -> None:
        """Queue frames whose events are in the log; a reader that is too slow is closed."""
        if self._over:
            return
        if len(self._waiting) + len(frames) > BACKLOG:
            self._waiting.clear()
            self._over = True
        else:
            self._waiting.extend(frames)
        self._arrived.set()

    def close(self) -> None:
        """Note that this process has no more frames of the run."""
        self._over = True
        self._arrived.set()

    async def read(self) -> list[NumberedFrame]:
        """Wait for frames and return them; none means that the log has the rest."""
        while not self._waiting and not self._over:
            self._arrived.clear()
            await self._arrived.wait()
        frames = list(self._waiting)
        self._waiting.clear()
        return frames


class Feeds:
    """The readers of this process, by run. Clients of other processes read the log."""

    def __init__(self, log_lifetime: float = LOG_LIFETIME) -> None:
        self._log_lifetime = log_lifetime
        self._readers: dict[tuple[str, str], list[Reader]] = {}

    def subscribe(self, project: str, run: str) -> Reader:
        """Return a reader of what is published from now on."""
        reader = Reader()
        self._readers.setdefault((project, run), []).append(reader)
        return reader

    def unsubscribe(self, project: str, run: str, reader: Reader) -> None:
        """Remove a reader."""
        readers = self._readers.get((project, run), [])
        if reader in readers:
            readers.remove(reader)
        if not readers:
            self._readers.pop((project, run), None)

    def append(self, project: str, run: str, first: int, lines: Sequence[bytes]) -> Append:
        """Return the write that puts lines into a run's log, the first of them with that number."""
        return Append(project, run, first, lines, self._log_lifetime)

    def publish(self, project: str, run: str, frames: Sequence[NumberedFrame]) -> None:
        """Give frames whose events were written to the log to the readers of the run."""
        for reader in self._readers.get((project, run), ()):
            reader.put(frames)

    def close(self, project: str, run: str) -> None:
        """Close the readers of a run: they continue with the log."""
        for reader in self._readers.pop((project, run), ()):
            reader.close()
