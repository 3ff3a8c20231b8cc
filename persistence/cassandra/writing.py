"""A write as a sequence of transactions, as few as its order allows.

A condition is part of a transaction on the partition that it is about. Neighbours in the same
partition are one transaction; documents that enter different lists do so at the same time. A
document enters its list first, which gives it its place, and gets its own row then. What has no
condition comes last and all at once: copies in lists, jobs, logs, cleared lists; what of it concerns
the partition of the last transaction is part of that one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from persistence.cassandra.clearing import Clearing
from persistence.cassandra.commits import Committer, Group, Part
from persistence.cassandra.documents import Changed, Copied, Gone, Left, Own, Unchanged
from persistence.cassandra.entries import OLDER, Entries, Moved, Unfinished
from persistence.cassandra.heads import Head, Heads
from persistence.cassandra.jobs import JobQueue
from persistence.cassandra.leases import Cancelled, Finished, Freed, Held, Put
from persistence.cassandra.logs import Appended, log_place
from persistence.cassandra.rows import ListKey, Place, home, of_document, seat, seat_of
from persistence.errors import StoreError, StoreUnavailable
from persistence.store import (
    Append,
    Cancel,
    Check,
    Clear,
    Delete,
    Document,
    Enqueue,
    Finish,
    Hold,
    Insert,
    Key,
    Operation,
    Replace,
    Reschedule,
)

AT_ONCE = 32
"""Transactions of one stage that run at the same time."""

REPLANNED = 20
"""Times that a write is planned anew because its lists moved on to new buckets."""


@dataclass
class Stage:
    """Transactions on different partitions, done at the same time.

    `entering` if they do nothing but enter documents into lists; `owning` if they make the own rows
    of documents, which are known once those have entered.
    """

    groups: dict[Place, Group] = field(default_factory=dict)
    entering: bool = False
    owning: list[tuple[Entries, int]] = field(default_factory=list)
    joined: dict[Place, list[Part]] = field(default_factory=dict)

    def ready(self) -> list[Group]:
        """The transactions."""
        if not self.owning:
            return list(self.groups.values())
        groups = []
        for entries, number in self.owning:
            document = entries.documents[number]
            place = home(document.key)
            groups.append(Group(place, [Own(document, of_document(document)), *self.joined.get(place, ())]))
        return groups

    def takes(self, place: Place, parts: Sequence[Part]) -> bool:
        """Whether there is a transaction in a partition that these can be part of."""
        if self.owning:
            return sum(home(entries.key_of(number)) == place for entries, number in self.owning) == 1
        group = self.groups.get(place)
        return group is not None and all(group.takes(part) for part in parts)

    def join(self, place: Place, parts: Sequence[Part]) -> None:
        """Let these be part of the transaction in a partition."""
        if self.owning:
            self.joined[place] = [*parts]
        else:
            self.groups[place].parts += parts

    def only(self) -> Place | None:
        """The partition, if it is but one."""
        return next(iter(self.groups)) if len(self.groups) == 1 else None


class Plan:
    """What one write does, in order, and which documents it gives back."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.results: list[Callable[[], Document]] = []
        self.rest: dict[Place, list[Part]] = {}
        self.index: list[Coroutine[Any, Any, None]] = []
        self.others: list[Callable[[], Awaitable[None]]] = []
        self._entered: list[tuple[Entries, int]] = []
        self._holds: dict[Place, list[Held]] = {}

    def condition(self, place: Place, part: Part) -> None:
        """Add a transaction, or a part to the one before it."""
        self.own()
        if isinstance(part, Held) and part.checks_only:
            self._holds.setdefault(place, []).append(part)
        stage = self.stages[-1] if self.stages else None
        if stage is not None and not stage.owning and list(stage.groups) == [place]:
            group = stage.groups[place]
            if group.takes(part):
                group.parts.append(part)
                stage.entering = False
                return
        fences = [] if part.checks_only else self._holds.get(place, [])
        self.stages.append(Stage({place: Group(place, [*fences, part])}))

    def enter(self, place: Place, key: ListKey, known: Head, operation: Insert) -> None:
        """Let a document enter its list, along with others where that is possible."""
        entries = self._entries(place, key, known, operation)
        number = entries.add(operation)
        if seat(operation.key, operation.parent, place.bucket)[0] != place:
            self._entered.append((entries, number))
        self.results.append(lambda: entries.documents[number])

    def _entries(self, place: Place, key: ListKey, known: Head, operation: Insert) -> Entries:
        stage = self.stages[-1] if self.stages and not self.stages[-1].owning else None
        fresh = Entries(key, known)
        if stage is not None and place in stage.groups:
            group = stage.groups[place]
            for part in group.parts:
                if isinstance(part, Entries) and part.key == key and part.takes(operation):
                    return part
            if not any(isinstance(part, Entries) and part.key == key for part in group.parts):
                group.parts.append(fresh)
                return fresh
        if stage is not None and stage.entering and place not in stage.groups:
            stage.groups[place] = Group(place, [*self._holds.get(place, []), fresh])
            return fresh
        self.own()
        group = Group(place, [*self._holds.get(place, []), fresh])
        self.stages.append(Stage({place: group}, entering=True))
        return fresh

    def own(self) -> None:
        """Let those that entered get their own rows before what follows."""
        if self._entered:
            self.stages.append(Stage(owning=self._entered))
            self._entered = []

    def later(self, place: Place, part: Part) -> None:
        """Add what has no condition; of two that change the same row, the later counts."""
        parts = self.rest.setdefault(place, [])
        parts[:] = [each for each in parts if not each.spots & part.spots]
        parts.append(part)

    def close(self) -> None:
        """Join what has no condition to a transaction in the same partition.

        That is one of the last stage. Copies may join an earlier one, of a write that changes an
        object in their partition besides (most often the one whose list they are in).
        """
        self.own()
        self._drop_checks()
        for place in list(self.rest):
            if self.stages and self.stages[-1].takes(place, self.rest[place]):
                self.stages[-1].join(place, self.rest.pop(place))
                continue
            left = [part for part in self.rest[place] if not self._joins(place, part)]
            if left:
                self.rest[place] = left
            else:
                del self.rest[place]

    def _joins(self, place: Place, part: Part) -> bool:
        """Let a copy be part of an earlier transaction that changes an object, where there is one."""
        if not isinstance(part, Copied):
            return False
        for stage in reversed(self.stages):
            group = stage.groups.get(place)
            if group is not None and group.takes(part) and any(isinstance(p, Changed) for p in group.parts):
                part.leads = not any(
                    part.change in each.parts
                    for earlier in self.stages[: self.stages.index(stage) + 1]
                    for each in earlier.groups.values()
                )
                group.parts.append(part)
                return True
        return False

    def _drop_checks(self) -> None:
        """Leave a check to the next stage's transaction in its partition, which then goes first."""
        for at in range(len(self.stages) - 1, 0, -1):
            before, stage = self.stages[at - 1 : at + 1]
            place = before.only()
            if before.owning or stage.owning or place is None or place not in stage.groups:
                continue
            checks = before.groups[place].parts
            if all(part.checks_only for part in checks):
                group = stage.groups.pop(place)
                group.parts[:0] = [part for part in checks if part not in group.parts]
                rest = [stage] if stage.groups else []
                self.stages[at - 1 : at + 1] = [Stage({place: group}), *rest]


class Writer:
    """Plans writes and does them."""

    def __init__(self, committer: Committer, heads: Heads, agenda: JobQueue, clearing: Clearing) -> None:
        self._committer = committer
        self._heads = heads
        self._agenda = agenda
        self._clearing = clearing

    async def write(self, operations: Sequence[Operation]) -> list[Document]:
        """Do all of the operations or none; the documents of Inserts and Replaces, in order."""
        completed: dict[Key, Document] = {}
        for _ in range(REPLANNED):
            plan = Plan()
            try:
                for operation in operations:
                    if isinstance(operation, Insert) and operation.key in completed:
                        plan.results.append(partial(completed.__getitem__, operation.key))
                    else:
                        await self._plan(plan, operation)
                plan.close()
                await self._do(plan)
            except Moved as moved:
                await self._follow(moved.key, moved.head)
            except Unfinished as unfinished:
                if not await self._clearing.complete(unfinished.document):
                    raise
                completed[unfinished.document.key] = unfinished.document
            else:
                return [result() for result in plan.results]
            finally:
                for coroutine in plan.index:
                    coroutine.close()
        raise StoreUnavailable("the lists of a write moved on faster than it could follow")

    async def _follow(self, key: ListKey, head: Head) -> None:
        if head.full:
            await self._heads.roll(key, head)
        else:
            self._heads.forget(key)

    # --- planning ---

    async def _plan(self, plan: Plan, operation: Operation) -> None:
        match operation:
            case Insert():
                await self._insert(plan, operation)
            case Replace():
                changed = Changed(operation)
                plan.condition(seat_of(operation.document)[0], changed)
                if operation.value is not None or operation.labels is not None:
                    plan.later(shelf(operation.document), Copied(changed))
                plan.results.append(lambda: changed.after)
            case Delete(document):
                plan.condition(seat_of(document)[0], Gone(document))
                plan.later(shelf(document), Left(document))
            case Check(document):
                plan.condition(seat_of(document)[0], Unchanged(document))
            case Clear():
                plan.others.append(lambda: self._clearing.clear(operation))
            case Append():
                plan.later(log_place(operation), Appended(operation))
            case _:
                self._plan_job(plan, operation)

    def _plan_job(self, plan: Plan, operation: Hold | Finish | Reschedule | Enqueue | Cancel) -> None:
        match operation:
            case Hold(job):
                plan.condition(Place(job.project, job.id, 0), Held(job))
            case Finish(job):
                plan.condition(Place(job.project, job.id, 0), Finished(job))
            case Reschedule(job):
                plan.index.append(self._agenda.note(job.project, job.kind, job.id, operation.due))
                plan.condition(Place(job.project, job.id, 0), Freed(operation))
            case Enqueue(job):
                plan.index.append(self._agenda.note(job.project, job.kind, job.id, job.due))
                plan.later(Place(job.project, job.id, 0), Put(job))
            case Cancel():
                plan.later(Place(operation.project, operation.id, 0), Cancelled(operation.kind))

    async def _insert(self, plan: Plan, operation: Insert) -> None:
        project, collection, id = operation.key
        if not id:
            raise ValueError("an object needs an id")
        key = ListKey(project, collection, operation.parent)
        known = await self._heads.find(key)
        wanted = operation.position
        if wanted is not None and known.bucket and wanted <= (known.last or known.floor):
            bucket = await self._heads.bucket_of(key, wanted)
            if bucket < known.bucket:
                known = Head(bucket, OLDER)
        if known.full:
            known = await self._heads.roll(key, known)
        if known.bucket:
            await self._heads.note_labels(key, known.bucket, operation.labels)
        plan.enter(key.bucket(known.bucket), key, known, operation)

    # --- doing ---

    async def _do(self, plan: Plan) -> None:
        indexed = asyncio.gather(*plan.index) if plan.index else None
        plan.index = []
        done: list[Group] = []
        try:
            for number, stage in enumerate(plan.stages):
                if indexed and (number == len(plan.stages) - 1 or has_jobs(stage)):
                    await indexed
                await self._run(stage, done)
            if indexed:
                await indexed
        except StoreError:
            await asyncio.gather(*([indexed] if indexed else []), return_exceptions=True)
            await self._committer.undo(done)
            raise
        await self._finish(plan)

    async def _run(self, stage: Stage, done: list[Group]) -> None:
        """Do a stage; of several errors the first in order is raised."""
        groups = stage.ready()
        for entries, number in stage.owning:  # whatever may be under them is not there yet
            key = entries.key_of(number)
            self._heads.saw_home(key.project, key.id, {})
        if len(groups) == 1:
            await self._committer.commit(groups[0])
            done.append(groups[0])
            return
        limit = asyncio.Semaphore(AT_ONCE)

        async def commit(group: Group) -> None:
            async with limit:
                await self._committer.commit(group)

        results = await asyncio.gather(*map(commit, groups), return_exceptions=True)
        done += [group for group, result in zip(groups, results, strict=True) if result is None]
        for result in results:
            if result is not None:
                raise result

    async def _finish(self, plan: Plan) -> None:
        """Do what has no condition; it is tried to the end, and the first error is raised then."""
        work: list[Awaitable[None]] = [
            self._committer.commit(Group(place, parts)) for place, parts in plan.rest.items()
        ]
        work += [other() for other in plan.others]
        if len(work) == 1:
            await work[0]
        elif work:
            for result in await asyncio.gather(*work, return_exceptions=True):
                if result is not None:
                    raise result


def shelf(document: Document) -> Place:
    """The partition in which a document's list has its copy."""
    key = ListKey(document.key.project, document.key.collection, document.parent)
    return key.bucket(document.shelf)


def has_jobs(stage: Stage) -> bool:
    """Whether a job is changed in it, whose new time must be in the index by then."""
    parts = [part for group in stage.groups.values() for part in group.parts]
    joined = [part for each in stage.joined.values() for part in each]
    return any(isinstance(part, Freed | Put) for part in (*parts, *joined))
