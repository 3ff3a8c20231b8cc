"""Plans of writes: the transactions of a write, and their order."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from persistence.cassandra.commits import Part, Transaction
from persistence.cassandra.documents import InsertRow, ReplaceRow, UpdateEntries
from persistence.cassandra.entries import InsertEntries
from persistence.cassandra.leases import Lease, PutJob, ReleaseJob
from persistence.cassandra.list_heads import ListHead
from persistence.cassandra.rows import ListKey, Partition, body_of, home_partition, primary_key
from persistence.store import Document, Insert


@dataclass
class Stage:
    """Transactions on different partitions that run at the same time.

    `only_entries`: it only inserts entries into lists. `new_rows`: it inserts the rows of documents whose
    entries an earlier stage has inserted.
    """

    transactions: dict[Partition, Transaction] = field(default_factory=dict)
    only_entries: bool = False
    new_rows: list[tuple[InsertEntries, int]] = field(default_factory=list)
    extra_parts: dict[Partition, list[Part]] = field(default_factory=dict)

    def ready(self) -> list[Transaction]:
        """Return the transactions."""
        if not self.new_rows:
            return list(self.transactions.values())
        transactions = []
        for entries, number in self.new_rows:
            document = entries.documents[number]
            partition = home_partition(document.key)
            parts = [InsertRow(document, body_of(document)), *self.extra_parts.get(partition, ())]
            transactions.append(Transaction(partition, parts))
        return transactions

    def accepts(self, partition: Partition, parts: Sequence[Part]) -> bool:
        """Return whether these parts can join a transaction on the partition."""
        if self.new_rows:
            return (
                sum(home_partition(entries.key_of(number)) == partition for entries, number in self.new_rows)
                == 1
            )
        transaction = self.transactions.get(partition)
        return transaction is not None and all(transaction.accepts(part) for part in parts)

    def join(self, partition: Partition, parts: Sequence[Part]) -> None:
        """Add parts to the transaction on a partition."""
        if self.new_rows:
            self.extra_parts[partition] = [*parts]
        else:
            self.transactions[partition].parts += parts

    def only(self) -> Partition | None:
        """Return the partition, if there is only one."""
        return next(iter(self.transactions)) if len(self.transactions) == 1 else None


class Plan:
    """The transactions of one write in order, and the documents that it returns."""

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
        """Insert a document into its list, together with others where possible."""
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
        """Let inserted documents get their own rows before what follows."""
        if self._new_rows:
            self.stages.append(Stage(new_rows=self._new_rows))
            self._new_rows = []

    def add_unconditional(self, partition: Partition, part: Part) -> None:
        """Add a part without a condition; of two that change the same row the later counts."""
        parts = self.unconditional.setdefault(partition, [])
        parts[:] = [each for each in parts if not each.row_keys & part.row_keys]
        parts.append(part)

    def close(self) -> None:
        """Join parts without conditions to a transaction in the same partition.

        The transaction is one of the last stage; updates of entries may also join an earlier one.
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
        """Join an update of entries to an earlier transaction that changes an object, if there is one."""
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
        """Move a check into the next stage's transaction on its partition, which then goes first."""
        for at in range(len(self.stages) - 1, 0, -1):
            before, stage = self.stages[at - 1 : at + 1]
            partition = before.only()
            if before.new_rows or stage.new_rows or partition is None or partition not in stage.transactions:
                continue
            checks = before.transactions[partition].parts
            if all(part.checks_only for part in checks):
                transaction = stage.transactions.pop(partition)
                transaction.parts[:0] = [part for part in checks if part not in transaction.parts]
                rest = [stage] if stage.transactions else []
                self.stages[at - 1 : at + 1] = [Stage({partition: transaction}), *rest]


def has_jobs(stage: Stage) -> bool:
    """Return whether a stage changes a job, whose time must be in the index by then."""
    parts = [part for transaction in stage.transactions.values() for part in transaction.parts]
    extra_parts = [part for each in stage.extra_parts.values() for part in each]
    return any(isinstance(part, ReleaseJob | PutJob) for part in (*parts, *extra_parts))
