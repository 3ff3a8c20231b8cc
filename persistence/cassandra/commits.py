"""Lightweight transactions on one partition: built of parts, retried until decided, undone part by part."""

import asyncio
import secrets
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from persistence.cassandra.driver import Connection, Outcome, Statement
from persistence.cassandra.errors import OutcomeUnknown
from persistence.cassandra.rows import AT, Partition, RowKey
from persistence.errors import StoreError, StoreUnavailable, VersionConflict

CHECKED_COLUMNS = ("version", "place", "lease", "owner")
WRITER = f"SELECT writer FROM objects WHERE {AT}"
CHECKED = f"SELECT {', '.join(CHECKED_COLUMNS)} FROM objects WHERE {AT}"

MAX_COMBINED = 50
"""Transactions of different callers that are done as one at most."""

Rows = Mapping[RowKey, Mapping[str, Any]]
"""The rows that a refused transaction had conditions on, as the database has them."""


class Part:
    """The statements of one operation in one partition, and what a refusal of them means."""

    row_keys: frozenset[RowKey] = frozenset()
    """Rows that it changes: two parts that change the same one are not of one transaction."""

    checks_only = False

    def row_key(self) -> RowKey:
        """Return the row of the condition, for parts that only check."""
        raise NotImplementedError

    @abstractmethod
    def statements(self, partition: Partition, token: str) -> list[Statement]:
        """Return the statements; called again for each attempt."""

    def on_refused(self, rows: Rows) -> None:
        """Raise a Conflict if the condition can never hold; otherwise adapt the next attempt."""

    def on_applied(self) -> None:
        """Note that the part was applied."""

    def check_possible(self) -> None:
        """Raise an error if an attempt cannot succeed."""

    def was_applied(self, rows: Rows, token: str) -> bool | None:
        """Return whether the rows show that this attempt was applied; None if they cannot show it."""
        if not self.row_keys:
            return None
        return any(row_key in rows and rows[row_key].get("writer") == token for row_key in self.row_keys)

    def undo(self, partition: Partition) -> list[Statement]:
        """Return the statements that undo the part, if a later part of the same write is refused."""
        return []


Merge = Callable[[Sequence[Part], Partition, str], list[Statement]]
"""The statements of several parts together."""


@dataclass
class Transaction:
    """Parts that are applied together in one lightweight transaction."""

    partition: Partition
    parts: list[Part] = field(default_factory=list)

    def accepts(self, part: Part) -> bool:
        """Return whether a part can join: no two parts change the same row."""
        return part.checks_only or not any(part.row_keys & other.row_keys for other in self.parts)


@dataclass(eq=False)
class PendingTransaction:
    """A transaction that a caller waits for."""

    transaction: Transaction
    done: asyncio.Future[None]
    until: float

    def reject(self, reason: BaseException) -> None:
        """Raise an error in the caller."""
        if not self.done.done():
            self.done.set_exception(reason)


class Committer:
    """Runs transactions: one at a time per partition in this process, with the waiting ones combined.

    A queue is cheaper than contention. Transactions that arrive while one runs on the same partition are
    combined into the next.
    """

    def __init__(self, connection: Connection, merge: Merge) -> None:
        self._connection = connection
        self._merge = merge
        self._locks: WeakValueDictionary[Partition, asyncio.Lock] = WeakValueDictionary()
        self._queues: dict[Partition, deque[PendingTransaction]] = {}
        self._workers: set[asyncio.Task[None]] = set()

    def here(self) -> "Committer":
        """Return this committer, or a new one in another event loop than the connection's."""
        if asyncio.get_running_loop() is self._connection.loop:
            return self
        return Committer(self._connection, self._merge)

    def lock(self, partition: Partition) -> asyncio.Lock:
        """Return this process's lock of a partition."""
        return self._locks.setdefault(partition, asyncio.Lock())

    async def commit(self, transaction: Transaction) -> None:
        """Apply all parts or none; raises the Conflict of the first refused part, or StoreUnavailable."""
        if all(part.checks_only for part in transaction.parts):
            await self._check(transaction)
            return
        until = time.monotonic() + self._connection.target.timeout
        pending = PendingTransaction(transaction, asyncio.get_running_loop().create_future(), until)
        queue = self._queues.get(transaction.partition)
        if queue is not None:
            queue.append(pending)
        else:
            queue = self._queues[transaction.partition] = deque([pending])
            worker = asyncio.ensure_future(self._work(transaction.partition, queue))
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        await pending.done

    async def _check(self, transaction: Transaction) -> None:
        """Read the rows, instead of running a transaction that changes nothing."""
        for part in transaction.parts:
            row_key = part.row_key()
            found = await self._connection.run(CHECKED, (*transaction.partition, *row_key))
            part.on_refused({row_key: dict(zip(CHECKED_COLUMNS, found[0], strict=True))} if found else {})

    async def _work(self, partition: Partition, queue: deque[PendingTransaction]) -> None:
        """Run a partition's pending transactions until there are none."""
        try:
            async with self.lock(partition):
                while queue:
                    picked = self._pick(queue)
                    try:
                        await self._commit(partition, picked)
                    finally:
                        reject(picked, StoreUnavailable("a transaction was given up"))
        finally:
            del self._queues[partition]
            reject(queue, StoreUnavailable("a transaction was given up"))

    def _pick(self, queue: deque[PendingTransaction]) -> list[PendingTransaction]:
        """Take the first pending transaction, and those that can join it, in order."""
        picked: list[PendingTransaction] = []
        left: list[PendingTransaction] = []
        changed: set[RowKey] = set()
        while queue and len(picked) < MAX_COMBINED:
            pending = queue.popleft()
            row_keys = set[RowKey]().union(*(part.row_keys for part in pending.transaction.parts))
            if pending.until < time.monotonic():
                pending.reject(StoreUnavailable(f"too many writers at {pending.transaction.partition.home}"))
            if pending.done.done():  # also if its caller was cancelled
                continue
            if changed & row_keys:
                left.append(pending)
            else:
                picked.append(pending)
                changed |= row_keys
        queue.extendleft(reversed(left))
        return picked

    async def _commit(self, partition: Partition, batch: list[PendingTransaction]) -> None:
        token = secrets.token_hex(8)
        deadline = time.monotonic() + self._connection.target.timeout
        unsure, attempt = False, 0
        while batch:
            attempt += 1
            batch = batch if unsure else still_possible(batch)
            try:
                statements = self._merge(
                    [part for each in batch for part in each.transaction.parts], partition, token
                )
                outcome = await self._decide(statements)
                rows = await self._rows(outcome, partition, batch if unsure else [])
            except OutcomeUnknown as exc:
                if time.monotonic() > deadline:
                    reject(batch, exc)
                    return
                unsure = True
                await asyncio.sleep(min(0.05 * 2**attempt, 1.0))
                continue
            except (StoreError, ValueError) as exc:
                reject(batch, exc)
                return
            if outcome.applied or (unsure and batch_was_applied(batch, rows, token)):
                resolve(batch)
                return
            batch = remaining(batch, rows, unsure=unsure)
            unsure = False
            if time.monotonic() > deadline:
                reject(batch, StoreUnavailable(f"too many writers at {partition.home}"))
                return

    async def _rows(
        self, outcome: Outcome, partition: Partition, attempted: Sequence[PendingTransaction]
    ) -> Rows:
        """Return the rows of a refusal; those that `attempted` may have changed before with their writers.

        A refusal shows only the columns of its conditions. A read at quorum sees who wrote a row, because
        the refused transaction has completed what was under way before it.
        """
        rows = {
            RowKey(row["section"], row["label"], row["position"]): row
            for row in outcome.rows
            if "section" in row
        }
        changed = {key for each in attempted for part in each.transaction.parts for key in part.row_keys}
        for row_key in changed & rows.keys():
            if "writer" not in rows[row_key]:
                try:
                    found = await self._connection.run(WRITER, (*partition, *row_key))
                except StoreUnavailable as exc:
                    raise OutcomeUnknown(str(exc)) from exc
                rows[row_key]["writer"] = found[0][0] if found else None
        return rows

    async def _decide(self, statements: list[Statement]) -> Outcome:
        if not statements:  # every part found that there is nothing left to do
            return Outcome(applied=True, rows=[])
        return await self._connection.compare_and_set(statements)

    async def undo(self, transactions: Sequence[Transaction]) -> None:
        """Undo applied transactions, the last first; rows that others have changed since are kept."""
        for transaction in reversed(transactions):
            async with self.lock(transaction.partition):
                for part in reversed(transaction.parts):
                    if statements := part.undo(transaction.partition):
                        with suppress(OutcomeUnknown):
                            await self._connection.compare_and_set_surely(statements)


def resolve(batch: Sequence[PendingTransaction]) -> None:
    """Tell the callers that their transactions were applied."""
    for pending in batch:
        for part in pending.transaction.parts:
            part.on_applied()
        if not pending.done.done():
            pending.done.set_result(None)


def reject(batch: Iterable[PendingTransaction], reason: BaseException) -> None:
    """Tell the callers that their transactions were not applied."""
    for pending in batch:
        pending.reject(reason)


def still_possible(batch: Sequence[PendingTransaction]) -> list[PendingTransaction]:
    """Return the transactions that can be tried; raise in the callers of the others."""
    left = []
    for pending in batch:
        try:
            for part in pending.transaction.parts:
                part.check_possible()
        except StoreError as exc:
            pending.reject(exc)
        else:
            left.append(pending)
    return left


def batch_was_applied(batch: Sequence[PendingTransaction], rows: Rows, token: str) -> bool:
    """Return whether an attempt with unknown outcome was applied, judged by the rows that it writes.

    A row that is missing, as if the attempt had deleted it, is proof only if there is no better one.
    """
    outcomes = [part.was_applied(rows, token) for pending in batch for part in pending.transaction.parts]
    return True in outcomes or False not in outcomes


def remaining(batch: Sequence[PendingTransaction], rows: Rows, *, unsure: bool) -> list[PendingTransaction]:
    """Return the transactions that may succeed next time; raise in the callers of the others.

    If an attempt's outcome is unknown, an unexpected version may be a successor of ours.
    """
    left = []
    for pending in batch:
        try:
            for part in pending.transaction.parts:
                part.on_refused(rows)
        except VersionConflict as exc:
            unknown = StoreUnavailable(f"it is unknown whether a write was applied: {exc}")
            pending.reject(unknown if unsure else exc)
        except StoreError as exc:
            pending.reject(exc)
        else:
            left.append(pending)
    return left
