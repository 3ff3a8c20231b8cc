"""Writes a run's objects and events together, and only while this worker holds the lease."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from inference.engine.errors import RunGone
from inference.engine.events import Event, ItemDelta, ItemStarted, encode
from inference.engine.feeds import Feeds
from inference.engine.items import MESSAGE
from inference.engine.recorder import Batch, Recorder
from inference.engine.renderer import WRITTEN_AHEAD, Api, ObjectChange
from inference.engine.state import ACTIVE_RUN, FENCE
from inference.engine.statuses import ENDED, SETTLED
from inference.leases import Lease
from persistence.errors import AlreadyExists, LeaseLost, VersionConflict
from persistence.retry import retry_on_conflict
from persistence.store import (
    Check,
    Document,
    Finish,
    Hold,
    Insert,
    Key,
    Operation,
    Replace,
    Reschedule,
    Store,
)
from persistence.types import JSON

INTERVAL = 0.1
"""Seconds between two writes of streamed text: at most ten a second for a run."""


@dataclass(slots=True, eq=False)
class TrackedObject:
    """An object that the run creates or changes: its next value, and its last known document."""

    change: ObjectChange
    document: Document | None = None

    @property
    def key(self) -> Key:
        """The object's key."""
        return self.change.key

    def operation(self) -> Operation:
        """Return the write of the object."""
        change = self.change
        if self.document is None:
            return Insert(change.key, change.value, change.state, change.parent, change.labels)
        return Replace(self.document, value=change.value, state=change.state)

    def rebase(self, fresh: Document) -> None:
        """Continue from a document that a caller changed: keep its metadata, which no run writes."""
        self.change.value = {**self.change.value, "metadata": fresh.value["metadata"]}
        self.document = fresh


class TrackedRun:
    """The run's own object and state."""

    def __init__(self, document: Document, recorder: Recorder) -> None:
        self.key = document.key
        self.document = document
        self._recorder = recorder
        self._value, self._state = document.value, document.state

    def change(self, value: JSON, state: JSON) -> None:
        """Set what the next write stores; the recorder may be further by then."""
        self._value, self._state = value, state

    def operation(self) -> Operation:
        """Return the write of the run."""
        return Replace(self.document, value=self._value, state=self._state)

    def rebase(self, fresh: Document) -> None:
        """Keep changed metadata; LeaseLost if the run was moved, as its job was taken with that."""
        renderer = self._recorder.renderer
        if fresh.value["status"] not in (self.document.value["status"], self._value["status"]):
            raise LeaseLost(f"run {self.key.id} is {fresh.value['status']}")
        renderer.run = {**renderer.run, "metadata": fresh.value["metadata"]}
        self._value = {**self._value, "metadata": fresh.value["metadata"]}
        self.document = fresh


class TrackedConversation:
    """The run's conversation; a run changes nothing of it but which run is active."""

    def __init__(self, document: Document, run_id: str) -> None:
        self.key = document.key
        self.document = document
        self._run_id = run_id
        self._state = document.state

    @property
    def is_changed(self) -> bool:
        """Whether the run has released it and that is not stored yet."""
        return self._state != self.document.state

    def release(self) -> None:
        """Let the conversation take messages and runs again, if this run is the active one."""
        if self._state.get(ACTIVE_RUN) == self._run_id:
            kept = {name: value for name, value in self._state.items() if name not in (ACTIVE_RUN, FENCE)}
            self._state = kept

    def operation(self) -> Operation:
        """Return the write that releases it, or the check that it is unchanged."""
        if self.is_changed:
            return Replace(self.document, state=self._state)
        return Check(self.document)

    def rebase(self, fresh: Document) -> None:
        """Continue from a changed document; LeaseLost if another worker has fenced it."""
        if self.document.state.get(FENCE) != fresh.state.get(FENCE):
            raise LeaseLost(f"conversation {self.key.id} was taken over")
        released = self.is_changed
        self.document, self._state = fresh, fresh.state
        if released:
            self.release()


Tracked = TrackedObject | TrackedRun | TrackedConversation


class _InOrder(NamedTuple):
    """What one write changes: before the part that the lease guards, in it, and after it."""

    first: list[Tracked]
    then: list[Tracked]
    last: list[Tracked]

    @property
    def all(self) -> list[Tracked]:
        """All of them in their order."""
        return [*self.first, *self.then, *self.last]


class UnitOfWork:
    """Collects a run's events and writes them with the objects that they change, before clients see them.

    Every write is guarded by the lease: LeaseLost means that another worker has the run and that nothing
    was written.
    """

    def __init__(
        self,
        store: Store,
        feeds: Feeds,
        api: Api,
        lease: Lease,
        run: Document,
        conversation: Document | None,
        recorder: Recorder,
    ) -> None:
        self.lease = lease
        self.recorder = recorder
        self.run = TrackedRun(run, recorder)
        self.conversation = None if conversation is None else TrackedConversation(conversation, run.id)
        self._outlives_conversation = api.outlives_conversation
        self._store = store
        self._feeds = feeds
        self._objects: dict[Key, TrackedObject] = {}
        self._lock = asyncio.Lock()
        self._written = 0.0
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._started: str | None = None

    @property
    def is_taken_over(self) -> bool:
        """Whether the run's job was taken from a worker that was lost."""
        return self.lease.job.takeovers > 0

    def track(self, change: ObjectChange, document: Document) -> None:
        """Note the stored document of an object."""
        self._objects[change.key] = TrackedObject(change, document)

    def record(self, event: Event) -> None:
        """Record an event for the next write."""
        self.recorder.record(event)
        if self.recorder.state.status in ENDED:
            self.release_conversation()
        if self._is_first(event) and self.recorder.has_frames:
            self._due.set()
        elif self.recorder.has_frames and self._timer is None:
            delay = max(0.0, self._written + INTERVAL - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._due.set)

    def release_conversation(self) -> None:
        """Let the conversation take messages and runs again, with the next write."""
        if self.conversation is not None:
            self.conversation.release()

    @property
    def _releases_conversation(self) -> bool:
        return self.conversation is not None and self.conversation.is_changed

    def _is_first(self, event: Event) -> bool:
        """Return whether an event is the first that a client sees of an item."""
        if isinstance(event, ItemStarted):
            self._started = event.item["id"]
            return bool(event.item["type"] != MESSAGE)
        if isinstance(event, ItemDelta) and event.id == self._started:
            self._started = None
            return True
        return False

    async def finish(self, due: float | None, *operations: Operation) -> None:
        """Write the last events with the end of the job, or with the time at which it is due again."""
        job = self.lease.job
        await self.flush(Finish(job) if due is None else Reschedule(job, due, payload={}), *operations)

    async def abandon(self) -> None:
        """End the job of a run that was deleted."""
        await self._store.write(Finish(self.lease.job))

    async def flush(self, *operations: Operation) -> None:
        """Write what is recorded, with `operations`; then publish it to the readers."""
        async with self._lock:
            await self._flush(*operations)

    async def _flush(self, *operations: Operation) -> None:
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not (self.recorder.has_events or self._releases_conversation or operations):
            return
        self._written = time.monotonic()
        batch = self.recorder.take()
        objects: list[Tracked] = [self._tracked(change) for change in batch.changes.values()]
        if not self._store.atomic_writes:
            self._note_events(batch)
        if batch.state is not None:
            self.run.change(batch.run, batch.state)
            objects.append(self.run)
        project, run_id = self.run.key.project, self.run.key.id
        log = [self._feeds.append(project, run_id, batch.first, batch.lines)] if batch.lines else []
        await self._write(objects, [*operations, *log])
        self._feeds.publish(project, run_id, batch.frames)

    def _tracked(self, change: ObjectChange) -> TrackedObject:
        tracked = self._objects.setdefault(change.key, TrackedObject(change))
        if tracked.document is not None and "metadata" in tracked.document.value:
            change.value = {**change.value, "metadata": tracked.document.value["metadata"]}
        tracked.change = change
        return tracked

    def _note_events(self, batch: Batch) -> None:
        """Store the events of a write in the finished objects that are written ahead.

        If the worker is lost between the two parts of the write, the next one finds the missing events here.
        Text is left out, as the object has it.
        """
        opened = self.recorder.renderer.open_objects
        lines = [encode(event).decode() for event in batch.events if not isinstance(event, ItemDelta)]
        for change in batch.changes.values():
            if change.ahead and change.key not in opened:
                change.state = {**change.state, WRITTEN_AHEAD: {"first": batch.first, "events": lines}}

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write what is recorded while the body runs; a write that fails ends the body.

        The first event of an item is written at once, together with what arrived after it.
        """
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(self._write_when_due())
                try:
                    yield
                finally:
                    async with self._lock:  # a write that is cancelled would lose its events
                        writer.cancel()
        except BaseExceptionGroup as exc:
            raise exc.exceptions[0] from exc

    async def _write_when_due(self) -> None:
        while True:
            await self._due.wait()
            await asyncio.sleep(0)  # what the provider has sent meanwhile is written with it
            async with self._lock:
                if self.recorder.state.status in SETTLED:
                    return  # the last events are written with the end of the job
                await self._flush()

    def _ordered(self, objects: list[Tracked]) -> _InOrder:
        """Return the objects in the order in which an engine without transactions writes them.

        Messages come first, fenced by the conversation: the next owner finds what the run has said, and
        clients never find a settled run whose message is missing. A run that outlives its conversation is
        written first instead.
        """
        conversation: list[Tracked] = [self.conversation] if self.conversation is not None else []
        ahead: list[Tracked] = [
            each for each in objects if isinstance(each, TrackedObject) and each.change.ahead
        ]
        rest = [each for each in objects if each not in ahead and each not in conversation]
        if self._outlives_conversation:
            run: list[Tracked] = [each for each in rest if each is self.run]
            items = [each for each in rest if each is not self.run]
            return _InOrder([], run, [*conversation, *items] if self._releases_conversation or items else [])
        if self._releases_conversation or (ahead and not self._store.atomic_writes):
            return _InOrder([*conversation, *ahead], rest, [])
        return _InOrder(ahead, rest, [])

    async def _write(self, objects: list[Tracked], operations: Sequence[Operation]) -> None:
        """Write once; after a conflict, on top of what others changed."""
        ordered = self._ordered(objects)
        is_fresh = True

        async def attempt() -> None:
            nonlocal ordered, is_fresh
            if not is_fresh:
                ordered = self._ordered(await self._rebased(ordered.all))
            is_fresh = False
            await self._write_in_order(ordered, operations)

        await retry_on_conflict(attempt, (VersionConflict, AlreadyExists))

    async def _write_in_order(self, ordered: _InOrder, operations: Sequence[Operation]) -> None:
        writes = {id(each): each.operation() for each in ordered.all}
        first, then, last = ([writes[id(each)] for each in part] for part in ordered)
        hold = Hold(self.lease.job)
        documents = await _finished(self._store.write(*first, hold, *then, *operations, *last))
        changed = [each for each in ordered.all if not isinstance(writes[id(each)], Check)]
        for each, document in zip(changed, documents, strict=True):
            each.document = document
            if isinstance(each, TrackedConversation):
                each.rebase(document)

    async def _rebased(self, objects: list[Tracked]) -> list[Tracked]:
        """Return the objects with their newest documents, without those that a caller deleted."""
        kept = []
        for each in objects:
            fresh = await self._store.get(each.key)
            if each.document is None:
                each.document = fresh  # the first part of the write was done
            elif fresh is not None:
                each.rebase(fresh)
            elif each is self.conversation and self._outlives_conversation:
                self.conversation = None
                return [each for each in objects if each is self.run]
            elif not isinstance(each, TrackedObject):
                raise RunGone(f"'{each.key.id}' was deleted.")
            else:
                continue
            kept.append(each)
        return kept


async def _finished(write: Coroutine[Any, Any, list[Document]]) -> list[Document]:
    """Await a write; if cancelled, wait for its end, so that no write is left half done."""
    task = asyncio.ensure_future(write)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # retrieved even if cancelled
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
    finally:
        del task  # an error's traceback refers to it, and it to the error: the run would stay in memory
