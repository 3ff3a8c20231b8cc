"""Runs that leave nothing in the store: their events go to the one client that waits for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from inference.engine.events import Event
from inference.engine.feeds import NumberedFrame
from inference.engine.recorder import Recorder
from persistence.store import Document, Key, Operation


@dataclass(frozen=True, slots=True)
class UnstoredRun:
    """The run's document, which is only in memory."""

    document: Document

    @property
    def key(self) -> Key:
        """The key that the document would have."""
        return self.document.key


class UnstoredWork:
    """Collects a run's frames for its client, in place of a unit of work."""

    def __init__(self, run: Document, recorder: Recorder) -> None:
        self.run = UnstoredRun(run)
        self.recorder = recorder
        self._arrived = asyncio.Event()
        self._frames: list[NumberedFrame] = []
        self._is_over = False

    is_taken_over = False

    def record(self, event: Event) -> None:
        """Record an event; its frames can be read at once."""
        self.recorder.record(event)
        if self.recorder.has_frames:
            self._frames += self.recorder.take().frames
            self._arrived.set()

    def release_conversation(self) -> None:
        """Do nothing: no conversation waits for the run."""

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Do nothing: nothing is written."""
        yield

    async def flush(self) -> None:
        """Do nothing: nothing is written."""

    async def finish(self, due: float | None, *_: Operation) -> None:
        """End the run; nothing is written."""
        if due is not None:
            raise RuntimeError("a run that is not stored cannot wait for its caller")
        self.close()

    def close(self) -> None:
        """Let the client read the frames to their end."""
        self._is_over = True
        self._arrived.set()

    async def read(self) -> list[NumberedFrame]:
        """Wait for frames and return them; none means that the run is over."""
        while not self._frames and not self._is_over:
            self._arrived.clear()
            await self._arrived.wait()
        frames, self._frames = self._frames, []
        return frames
