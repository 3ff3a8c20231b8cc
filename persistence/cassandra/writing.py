"""Writes as a sequence of transactions, as few as their order allows.

A condition belongs to the transaction on its partition. Neighbours on one partition are one transaction, and
inserts into different lists run at the same time. A document's entry is inserted first, which gives its
position, and then its row. Parts without conditions come last and together, in the last transaction of their
partition if there is one.
"""

import asyncio
from collections.abc import Awaitable
from functools import partial

from persistence.cassandra.commits import Committer, Transaction
from persistence.cassandra.documents import CheckVersion, DeleteEntries, DeleteRow, ReplaceRow, UpdateEntries
from persistence.cassandra.entries import OLDER, StaleListHead, UnfinishedInsert
from persistence.cassandra.errors import OutcomeUnknown
from persistence.cassandra.jobs import JobQueue
from persistence.cassandra.leases import CancelJob, FinishJob, Lease, PutJob, ReleaseJob
from persistence.cassandra.list_heads import ListHead, ListHeads
from persistence.cassandra.logs import AppendSegment, log_place
from persistence.cassandra.plan import Plan, Stage, has_jobs
from persistence.cassandra.repair import Repair
from persistence.cassandra.rows import ListKey, Partition, bucket_of, primary_key_of
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


class Writer:
    """Plans and applies writes."""

    def __init__(self, committer: Committer, heads: ListHeads, job_queue: JobQueue, repair: Repair) -> None:
        self._committer = committer
        self._heads = heads
        self._job_queue = job_queue
        self._repair = repair

    async def write(self, *operations: Operation) -> list[Document]:
        """Apply all operations or none; return the documents of Inserts and Replaces, in order."""
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
        raise StoreUnavailable("too many writers on the lists of this write")

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
            raise ValueError("the id of an inserted document is empty")
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
        except StoreError as exc:
            await asyncio.gather(*([indexed] if indexed else []), return_exceptions=True)
            # If the last transaction may have been applied, what it builds on must stay: the write is
            # left as if this process had died, and repaired in the same way.
            if not isinstance(exc, OutcomeUnknown):
                await self._committer.undo(done)
            raise
        await self._finish(plan)

    async def _run(self, stage: Stage, done: list[Transaction]) -> None:
        """Run a stage; raise the first error in order."""
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
        """Apply the parts without conditions, all of them; then raise the first error."""
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
    """Return the partition of a document's entry."""
    key = ListKey(document.key.project, document.key.collection, document.parent)
    return key.bucket(bucket_of(document))
