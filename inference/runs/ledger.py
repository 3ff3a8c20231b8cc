"""What a run's owner writes: objects and events together, and only while it holds the lease."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from inference.jobs import Held
from inference.runs import transitions
from inference.runs.errors import RunGone
from inference.runs.feed import Feeds, frame
from inference.runs.state import ACTIVE_RUN, FENCE, SEQUENCE
from persistence.errors import AlreadyExists, LeaseLost, VersionConflict
from persistence.store import (
    Check,
    Document,
    Hold,
    Insert,
    Key,
    Operation,
    Replace,
    Store,
)

JSON = dict[str, Any]

INTERVAL = 0.1
"""Seconds between two segments of streamed text in the log: at most ten writes a second for a run."""


@dataclass(slots=True, eq=False)
class Tracked:
    """An object that the run makes or changes: as it is to be, and as the store last had it."""

    key: Key
    value: JSON
    state: JSON = field(default_factory=dict)
    parent: str = ""
    labels: frozenset[str] = frozenset()
    document: Document | None = None

    @classmethod
    def of(cls, document: Document) -> Self:
        """An object as it was read."""
        return cls(document.key, document.value, document.state, document.parent, document.labels, document)

    @property
    def id(self) -> str:
        """The id that callers know it by."""
        return str(self.value["id"])

    def operation(self) -> Operation:
        """The write that brings the store up to it."""
        if self.document is None:
            return Insert(self.key, self.value, self.state, self.parent, self.labels)
        return Replace(self.document, value=self.value, state=self.state)

    def rebase(self, fresh: Document) -> None:
        """Take over what a caller changed meanwhile: the metadata, which no run ever writes."""
        self.value = {**self.value, "metadata": fresh.value["metadata"]}
        self.document = fresh


@dataclass(slots=True, eq=False)
class TrackedThread(Tracked):
    """A run's thread, of which a run changes nothing but which run is active."""

    def release(self, run_id: str) -> bool:
        """Let the thread take messages and runs again, if it is that run that it waits for."""
        ours = self.state.get(ACTIVE_RUN) == run_id
        if ours:
            self.state = {name: kept for name, kept in self.state.items() if name not in (ACTIVE_RUN, FENCE)}
        return ours

    def operation(self) -> Operation:
        """Let go of the thread, or see that nobody changed it."""
        if self.document is None:
            raise RunGone(f"No thread found with id '{self.key.id}'.")
        if self.state == self.document.state:
            return Check(self.document)
        return Replace(self.document, state=self.state)

    def rebase(self, fresh: Document) -> None:
        """The thread is the caller's: take all of it, and keep the one thing that is ours."""
        if self.document is not None and self.document.state.get(FENCE) != fresh.state.get(FENCE):
            raise LeaseLost(f"thread {self.key.id} was taken over")
        active, run_id = ACTIVE_RUN in self.state, fresh.state.get(ACTIVE_RUN)
        self.value, self.document, self.state = fresh.value, fresh, fresh.state
        if not active and run_id is not None:
            self.release(run_id)


class Ledger:
    """Collects what changes and what is to be told, and writes both in one go, before it is told.

    Every write is guarded by the lease: LeaseLost means that another worker has the run, and
    nothing was written. Events get their numbers here.
    """

    def __init__(
        self, store: Store, feeds: Feeds, held: Held, run: Tracked, thread: TrackedThread, sequence: int
    ) -> None:
        self.run = run
        self.thread = thread
        self.sequence = sequence
        self._store = store
        self._feeds = feeds
        self._held = held
        self._dirty: list[Tracked] = []
        self._frames: list[bytes] = []
        self._first = sequence
        self._written = 0.0
        self._pending = asyncio.Event()
        self._lock = asyncio.Lock()

    def tell(self, event: str, data: Any) -> None:
        """Queue an event for the next write."""
        self._frames.append(frame(self.sequence, event, data))
        self.sequence += 1
        self._pending.set()

    def change(self, *objects: Tracked) -> None:
        """Queue objects for the next write, in the order in which they matter."""
        self._dirty += [each for each in objects if each not in self._dirty]

    async def flush(self, *operations: Operation) -> None:
        """Write what is queued, and `operations` with it; then hand the events to the readers."""
        async with self._lock:
            await self._flush(*operations)

    async def _flush(self, *operations: Operation) -> None:
        dirty, self._dirty = self._dirty, []
        frames, self._frames = self._frames, []
        first, self._first = self._first, self.sequence
        self._pending.clear()
        if not (dirty or frames or operations):
            return
        self.run.state = {**self.run.state, SEQUENCE: self.sequence}
        log = [self._feeds.segment(self.run.key.project, self.run.key.id, first, frames)] if frames else []
        await self._put(dirty, *operations, *log)
        self._written = time.monotonic()
        numbered = list(enumerate(frames, first))
        self._feeds.publish(self.run.key.project, self.run.key.id, numbered)

    def skip_to(self, sequence: int) -> None:
        """Go on behind events that an earlier owner wrote; nothing may be queued yet."""
        self.sequence = self._first = sequence

    def discard(self) -> None:
        """Forget what is queued: it was neither stored nor told."""
        self._dirty, self._frames, self.sequence = [], [], self._first
        self._pending.clear()

    @asynccontextmanager
    async def writing_text(self) -> AsyncIterator[None]:
        """Write what is queued every `INTERVAL` meanwhile; what that fails with ends the body."""
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(self._write_text())
                try:
                    yield
                finally:
                    async with self._lock:  # not in the middle of a write: its events would be lost
                        writer.cancel()
        except BaseExceptionGroup as exc:
            raise exc.exceptions[0] from exc

    async def _write_text(self) -> None:
        while True:
            await self._pending.wait()
            await asyncio.sleep(self._written + INTERVAL - time.monotonic())
            async with self._lock:
                if self.run.value["status"] in transitions.RESTING:
                    return  # what is queued goes with what becomes of the job
                if time.monotonic() - self._written >= INTERVAL:
                    await self._flush()

    def _ordered(self, dirty: list[Tracked]) -> tuple[list[Tracked], list[Tracked]]:
        """What is written first, and what with the lease, where an engine goes step by step.

        A message comes first: with it in the store, the next owner knows what the run has said, and
        nobody finds a run at rest whose message is not to be seen yet. Its fence is the thread.
        """
        first = [each for each in dirty if each.key.collection == "messages"]
        if self.thread in dirty or (first and not self._store.transactional):
            first.insert(0, self.thread)
        return first, [each for each in dirty if each not in first]

    async def _put(self, objects: list[Tracked], *operations: Operation) -> None:
        """One write, on top of what others made of the objects meanwhile."""
        while True:
            first, then = self._ordered(objects)
            objects = [*first, *then]
            writes = [each.operation() for each in objects]
            hold = Hold(self._held.job)
            write = self._store.write(*writes[: len(first)], hold, *writes[len(first) :], *operations)
            try:
                documents = await _to_its_end(write)
            except (VersionConflict, AlreadyExists):
                objects = await self._rebased(objects)
            else:
                break
        changed = [each for each, write in zip(objects, writes, strict=True) if not isinstance(write, Check)]
        for each, document in zip(changed, documents, strict=True):
            each.document = document

    async def _rebased(self, dirty: list[Tracked]) -> list[Tracked]:
        """The objects on top of what others made of them; without those that a caller deleted."""
        kept = []
        for each in dirty:
            fresh = await self._store.get(each.key)
            if each.document is None:
                each.document = fresh  # of a write that an engine did in part
            elif fresh is not None:
                self._check_ours(each, fresh)
                each.rebase(fresh)
            elif each.key.collection in ("runs", "threads"):
                raise RunGone(f"No {each.key.collection[:-1]} found with id '{each.key.id}'.")
            else:
                continue
            kept.append(each)
        return kept

    def _check_ours(self, each: Tracked, fresh: Document) -> None:
        """Somebody who moved the run has its job too, or will: what is queued here is void."""
        before = each.document
        if each is not self.run or before is None:
            return
        if fresh.value["status"] not in (before.value["status"], each.value["status"]):
            raise LeaseLost(f"run {each.key.id} is {fresh.value['status']}")


async def _to_its_end(write: Coroutine[Any, Any, list[Document]]) -> list[Document]:
    """What a write gives; a cancelled one is waited for, so that no write of ours is left half done."""
    task = asyncio.ensure_future(write)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to ask
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
