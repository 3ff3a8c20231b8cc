"""What a run's owner writes: objects and events together, and only while it holds the lease."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from astrolabe_server.inference.jobs import Held
from astrolabe_server.inference.runs import transitions
from astrolabe_server.inference.runs.errors import RunGone
from astrolabe_server.inference.runs.feed import Feeds, frame
from astrolabe_server.inference.runs.state import ACTIVE_RUN, SEQUENCE
from astrolabe_server.persistence.errors import AlreadyExists, LeaseLost, VersionConflict
from astrolabe_server.persistence.store import (
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

    def operation(self) -> Operation:
        """Let go of the thread."""
        if self.document is None:
            raise RunGone(f"No thread found with id '{self.key.id}'.")
        return Replace(self.document, state=self.state)

    def rebase(self, fresh: Document) -> None:
        """The thread is the caller's: take all of it, and keep the one thing that is ours."""
        self.value, self.document = fresh.value, fresh
        self.state = {**fresh.state, ACTIVE_RUN: self.state.get(ACTIVE_RUN)}


class Ledger:
    """Collects what changes and what is to be told, and writes both in one go, before it is told.

    Every write is guarded by the lease: LeaseLost means that another worker has the run, and
    nothing was written. Events get their numbers here.
    """

    def __init__(self, store: Store, feeds: Feeds, held: Held, run: Tracked, sequence: int) -> None:
        self.run = run
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
            dirty, self._dirty = self._dirty, []
            frames, self._frames = self._frames, []
            first, self._first = self._first, self.sequence
            self._pending.clear()
            if not (dirty or frames or operations):
                return
            self.run.state = {**self.run.state, SEQUENCE: self.sequence}
            await self._write(dirty, operations, first, frames)
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
            await self.flush()

    async def _write(
        self, dirty: list[Tracked], operations: tuple[Operation, ...], first: int, frames: list[bytes]
    ) -> None:
        log = [self._feeds.segment(self.run.key.project, self.run.key.id, first, frames)] if frames else []
        *before, last = self._stages(dirty)
        for objects in before:
            await self._put(objects)
        await self._put(last, *operations, *log)

    def _stages(self, dirty: list[Tracked]) -> list[list[Tracked]]:
        """What is written one after the other; all at once where the engine shows all at once.

        A message comes first: with it in the store, the next owner knows what the run has said. And
        nobody finds a run at rest whose message is not to be seen yet.
        """
        dirty = sorted(dirty, key=lambda each: each.key.collection != "messages")
        at_rest = self.run in dirty and self.run.value["status"] in transitions.RESTING
        if self._store.transactional or not at_rest:
            return [dirty]
        said = [each for each in dirty if each.key.collection in ("messages", "run_steps")]
        return [*([said] if said else []), [each for each in dirty if each not in said]]

    async def _put(self, objects: list[Tracked], *operations: Operation) -> None:
        """One write, on top of what others made of the objects meanwhile."""
        while True:
            writes = [each.operation() for each in objects]
            write = self._store.write(Hold(self._held.job), *writes, *operations)
            try:
                documents = await _to_its_end(write)
            except (VersionConflict, AlreadyExists):
                objects = await self._rebased(objects)
            else:
                break
        for each, document in zip(objects, documents, strict=False):
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
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
