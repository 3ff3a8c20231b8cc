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

from persistence.cassandra.commits import Committer, Part, Transaction
from persistence.cassandra.documents import (
    CheckVersion,
    DeleteEntries,
    DeleteRow,
    InsertRow,
    ReplaceRow,
    UpdateEntries,
)
from persistence.cassandra.entries import OLDER, InsertEntries, StaleListHead, UnfinishedInsert
from persistence.cassandra.jobs import JobQueue
from persistence.cassandra.leases import CancelJob, FinishJob, Lease, PutJob, ReleaseJob
from persistence.cassandra.list_heads import ListHead, ListHeads
from persistence.cassandra.logs import AppendSegment, log_place
from persistence.cassandra.repair import Repair
from persistence.cassandra.rows import (
    ListKey,
    Partition,
    body_of,
    bucket_of,
    home_partition,
    primary_key,
    primary_key_of,
)
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

    transactions: dict[Partition, Transaction] = field(default_factory=dict)
    only_entries: bool = False
    new_rows: list[tuple[InsertEntries, int]] = field(default_factory=list)
    extra_parts: dict[Partition, list[Part]] = field(default_factory=dict)

    def ready(self) -> list[Transaction]:
        """The transactions."""
        if not self.new_rows:
            return list(self.transactions.values())
        transactions = []
        for entries, number in self.new_rows:
            document = entries.documents[number]
            partition = home_partition(document.key)
            transactions.append(
                Transaction(
                    partition, [InsertRow(document, body_of(document)), *self.extra_parts.get(partition, ())]
                )
            )
        return transactions

    def accepts(self, partition: Partition, parts: Sequence[Part]) -> bool:
        """Whether there is a transaction in a partition that these can be part of."""
        if self.new_rows:
            return (
                sum(home_partition(entries.key_of(number)) == partition for entries, number in self.new_rows)
                == 1
            )
        transaction = self.transactions.get(partition)
        return transaction is not None and all(transaction.accepts(part) for part in parts)

    def join(self, partition: Partition, parts: Sequence[Part]) -> None:
        """Let these be part of the transaction in a partition."""
        if self.new_rows:
            self.extra_parts[partition] = [*parts]
        else:
            self.transactions[partition].parts += parts

    def only(self) -> Partition | None:
        """The partition, if it is but one."""
        return next(iter(self.transactions)) if len(self.transactions) == 1 else None


class Plan:
    """What one write does, in order, and which documents it gives back."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.results: list[Callable[[], Document]] = []
        self.unconditional: dict[Partition, list[Part]] = {}
        self.index_writes: list[Coroutine[Any, Any, None]] = []
        self.list_clears: list[Callable[[], Awaitable[None]]] = []
        self._new_rows: list[tuple[InsertEntries, int]] = []
        self._leases: dict[Partition, list[Lease]] = {}

    def add_condition(self, partition: Partition, part: Part) -> None:
        """Add a transaction, or a part to the one before it."""
        self.add_new_rows()
        if isinstance(part, Lease) and part.checks_only:
            self._leases.setdefault(partition, []).append(part)
        stage = self.stages[-1] if self.stages else None
        if stage is not None and not stage.new_rows and list(stage.transactions) == [partition]:
            transaction = stage.transactions[partition]
            if transaction.accepts(part):
                transaction.parts.append(part)
                stage.only_entries = False
                return
        fences = [] if part.checks_only else self._leases.get(partition, [])
        self.stages.append(Stage({partition: Transaction(partition, [*fences, part])}))

    def add_insert(self, partition: Partition, key: ListKey, known: ListHead, operation: Insert) -> None:
        """Let a document enter its list, along with others where that is possible."""
        entries = self._entries(partition, key, known, operation)
        number = entries.add(operation)
        if primary_key(operation.key, operation.parent, partition.bucket)[0] != partition:
            self._new_rows.append((entries, number))
        self.results.append(lambda: entries.documents[number])

    def _entries(
        self, partition: Partition, key: ListKey, known: ListHead, operation: Insert
    ) -> InsertEntries:
        stage = self.stages[-1] if self.stages and not self.stages[-1].new_rows else None
        fresh = InsertEntries(key, known)
        if stage is not None and partition in stage.transactions:
            transaction = stage.transactions[partition]
            for part in transaction.parts:
                if isinstance(part, InsertEntries) and part.key == key and part.accepts(operation):
                    return part
            if not any(isinstance(part, InsertEntries) and part.key == key for part in transaction.parts):
                transaction.parts.append(fresh)
                return fresh
        if stage is not None and stage.only_entries and partition not in stage.transactions:
            stage.transactions[partition] = Transaction(partition, [*self._leases.get(partition, []), fresh])
            return fresh
        self.add_new_rows()
        transaction = Transaction(partition, [*self._leases.get(partition, []), fresh])
        self.stages.append(Stage({partition: transaction}, only_entries=True))
        return fresh

    def add_new_rows(self) -> None:
        """Let those that entered get their own rows before what follows."""
        if self._new_rows:
            self.stages.append(Stage(new_rows=self._new_rows))
            self._new_rows = []

    def add_unconditional(self, partition: Partition, part: Part) -> None:
        """Add what has no condition; of two that change the same row, the later counts."""
        parts = self.unconditional.setdefault(partition, [])
        parts[:] = [each for each in parts if not each.row_keys & part.row_keys]
        parts.append(part)

    def close(self) -> None:
        """Join what has no condition to a transaction in the same partition.

        That is one of the last stage. Copies may join an earlier one, of a write that changes an
        object in their partition besides (most often the one whose list they are in).
        """
        self.add_new_rows()
        self._drop_checks()
        for partition in list(self.unconditional):
            if self.stages and self.stages[-1].accepts(partition, self.unconditional[partition]):
                self.stages[-1].join(partition, self.unconditional.pop(partition))
                continue
            left = [part for part in self.unconditional[partition] if not self._joins(partition, part)]
            if left:
                self.unconditional[partition] = left
            else:
                del self.unconditional[partition]

    def _joins(self, partition: Partition, part: Part) -> bool:
        """Let a copy be part of an earlier transaction that changes an object, where there is one."""
        if not isinstance(part, UpdateEntries):
            return False
        for stage in reversed(self.stages):
            transaction = stage.transactions.get(partition)
            if (
                transaction is not None
                and transaction.accepts(part)
                and any(isinstance(p, ReplaceRow) for p in transaction.parts)
            ):
                part.leads = not any(
                    part.change in each.parts
                    for earlier in self.stages[: self.stages.index(stage) + 1]
                    for each in earlier.transactions.values()
                )
                transaction.parts.append(part)
                return True
        return False

    def _drop_checks(self) -> None:
        """Leave a check to the next stage's transaction in its partition, which then goes first."""
        for at in range(len(self.stages) - 1, 0, -1):
            before, stage = self.stages[at - 1 : at + 1]
            partition = before.only()
            if before.new_rows or stage.new_rows or partition is None or partition not in stage.transactions:
                continue
            checks = before.transactions[partition].parts
            if all(part.checks_only for part in checks):
                transaction = stage.transactions.pop(partition)
                transaction.parts[:0] = [part for part in checks if part not in transaction.parts]
                unconditional = [stage] if stage.transactions else []
                self.stages[at - 1 : at + 1] = [Stage({partition: transaction}), *unconditional]


class Writer:
    """Plans writes and does them."""

    def __init__(self, committer: Committer, heads: ListHeads, job_queue: JobQueue, repair: Repair) -> None:
        self._committer = committer
        self._heads = heads
        self._job_queue = job_queue
        self._repair = repair

    async def write(self, *operations: Operation) -> list[Document]:
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
            except StaleListHead as moved:
                await self._follow(moved.key, moved.head)
            except UnfinishedInsert as unfinished:
                if not await self._repair.complete(unfinished.document):
                    raise
                completed[unfinished.document.key] = unfinished.document
            else:
                return [result() for result in plan.results]
            finally:
                for coroutine in plan.index_writes:
                    coroutine.close()
        raise StoreUnavailable("the lists of a write moved on faster than it could follow")

    async def _follow(self, key: ListKey, head: ListHead) -> None:
        if head.full:
            await self._heads.start_next_bucket(key, head)
        else:
            self._heads.invalidate(key)

    # --- planning ---

    async def _plan(self, plan: Plan, operation: Operation) -> None:
        match operation:
            case Insert():
                await self._insert(plan, operation)
            case Replace():
                changed = ReplaceRow(operation)
                plan.add_condition(primary_key_of(operation.document)[0], changed)
                if operation.value is not None or operation.labels is not None:
                    plan.add_unconditional(list_partition(operation.document), UpdateEntries(changed))
                plan.results.append(lambda: changed.after)
            case Delete(document):
                plan.add_condition(primary_key_of(document)[0], DeleteRow(document))
                plan.add_unconditional(list_partition(document), DeleteEntries(document))
            case Check(document):
                plan.add_condition(primary_key_of(document)[0], CheckVersion(document))
            case Clear():
                plan.list_clears.append(lambda: self._repair.clear(operation))
            case Append():
                plan.add_unconditional(log_place(operation), AppendSegment(operation))
            case _:
                self._plan_job(plan, operation)

    def _plan_job(self, plan: Plan, operation: Hold | Finish | Reschedule | Enqueue | Cancel) -> None:
        match operation:
            case Hold(job):
                plan.add_condition(Partition(job.project, job.id, 0), Lease(job))
            case Finish(job):
                plan.add_condition(Partition(job.project, job.id, 0), FinishJob(job))
            case Reschedule(job):
                plan.index_writes.append(
                    self._job_queue.add_entry(job.project, job.kind, job.id, operation.due)
                )
                plan.add_condition(Partition(job.project, job.id, 0), ReleaseJob(operation))
            case Enqueue(job):
                plan.index_writes.append(self._job_queue.add_entry(job.project, job.kind, job.id, job.due))
                plan.add_unconditional(Partition(job.project, job.id, 0), PutJob(job))
            case Cancel():
                plan.add_unconditional(
                    Partition(operation.project, operation.id, 0), CancelJob(operation.kind)
                )

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
                known = ListHead(bucket, OLDER)
        if known.full:
            known = await self._heads.start_next_bucket(key, known)
        if known.bucket:
            await self._heads.note_labels(key, known.bucket, operation.labels)
        plan.add_insert(key.bucket(known.bucket), key, known, operation)

    # --- doing ---

    async def _do(self, plan: Plan) -> None:
        indexed = asyncio.gather(*plan.index_writes) if plan.index_writes else None
        plan.index_writes = []
        done: list[Transaction] = []
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

    async def _run(self, stage: Stage, done: list[Transaction]) -> None:
        """Do a stage; of several errors the first in order is raised."""
        transactions = stage.ready()
        for entries, number in stage.new_rows:  # whatever may be under them is not there yet
            key = entries.key_of(number)
            self._heads.remember_home(key.project, key.id, {})
        if len(transactions) == 1:
            await self._committer.commit(transactions[0])
            done.append(transactions[0])
            return
        limit = asyncio.Semaphore(AT_ONCE)

        async def commit(transaction: Transaction) -> None:
            async with limit:
                await self._committer.commit(transaction)

        results = await asyncio.gather(*map(commit, transactions), return_exceptions=True)
        done += [
            transaction for transaction, result in zip(transactions, results, strict=True) if result is None
        ]
        for result in results:
            if result is not None:
                raise result

    async def _finish(self, plan: Plan) -> None:
        """Do what has no condition; it is tried to the end, and the first error is raised then."""
        work: list[Awaitable[None]] = [
            self._committer.commit(Transaction(partition, parts))
            for partition, parts in plan.unconditional.items()
        ]
        work += [other() for other in plan.list_clears]
        if len(work) == 1:
            await work[0]
        elif work:
            for result in await asyncio.gather(*work, return_exceptions=True):
                if result is not None:
                    raise result


def list_partition(document: Document) -> Partition:
    """The partition in which a document's list has its copy."""
    key = ListKey(document.key.project, document.key.collection, document.parent)
    return key.bucket(bucket_of(document))


def has_jobs(stage: Stage) -> bool:
    """Whether a job is changed in it, whose new time must be in the index by then."""
    parts = [part for transaction in stage.transactions.values() for part in transaction.parts]
    extra_parts = [part for each in stage.extra_parts.values() for part in each]
    return any(isinstance(part, ReleaseJob | PutJob) for part in (*parts, *extra_parts))
