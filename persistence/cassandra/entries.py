"""The part of a write that inserts documents into a list and moves the list's head."""

import time
from collections.abc import Iterator, Sequence

from persistence.cassandra.commits import Part, Rows
from persistence.cassandra.documents import ENTER, InsertRow, delete_entries, label_entries
from persistence.cassandra.driver import Statement
from persistence.cassandra.list_heads import ListHead
from persistence.cassandra.rows import (
    AT,
    KEY,
    Body,
    ListKey,
    Partition,
    RowKey,
    body_of,
    bucket_of,
    encode_body,
    head_row_key,
    inserted_document,
    marker_row_key,
    primary_key,
)
from persistence.errors import AlreadyExists, StoreError
from persistence.store import Document, Insert, Key

BEGIN = f"UPDATE objects SET last=?, rows=?, bytes=?, writer=? WHERE {AT} IF last=null"
GROW = f"UPDATE objects SET last=?, rows=?, bytes=?, writer=? WHERE {AT} IF last<? AND closed=null"
MARK = f"INSERT INTO objects ({KEY}, place, at, writer) VALUES (?,?,?,?,?,?,?,?,?) IF NOT EXISTS"

OLDER = 2**62
"""A last position that no document has: whatever enters an older bucket enters it in its midst."""

UNFINISHED = 15.0
"""Seconds after which a document that entered its list and is nowhere else was left by a dead writer."""


class StaleListHead(StoreError):
    """The list has a newer bucket than this process knew: plan the write again."""

    def __init__(self, key: ListKey, head: ListHead) -> None:
        super().__init__(f"{key.collection} of {key.parent or key.project} moved on")
        self.key = key
        self.head = head


class UnfinishedInsert(AlreadyExists):
    """The document has had an entry for a while: check whether its own row exists."""

    def __init__(self, operation: Insert, position: int, bucket: int) -> None:
        super().__init__(f"{operation.key.collection} {operation.key.id} exists")
        self.document = inserted_document(operation, position, bucket)


class InsertEntries(Part):
    """Insert documents at the end of their list, or at the positions that they bring."""

    def __init__(self, key: ListKey, known: ListHead) -> None:
        self.key = key
        self.head = known
        self._inserts: list[tuple[Insert, Body]] = []
        self._wanted: list[int | None] = []
        self._last: int | None = None
        self.documents: list[Document] = []

    def add(self, operation: Insert) -> int:
        """Add a document; return its index in `documents`."""
        content = encode_body(operation.value, operation.state, operation.labels)
        self._inserts.append((operation, content))
        self._wanted.append(operation.position)
        self.row_keys |= {marker_row_key(self.key.collection, operation.key.id)}
        return len(self._inserts) - 1

    @property
    def count(self) -> int:
        """The number of documents."""
        return len(self._inserts)

    @property
    def bytes(self) -> int:
        """The bytes of all documents."""
        return sum(
            len(content.value) * (2 if self._shares_partition(operation.key) else 1)
            for operation, content in self._inserts
        )

    def _shares_partition(self, key: Key) -> bool:
        """Return whether a document's own row is in the list's partition."""
        partition, _ = primary_key(key, self.key.parent, self.head.bucket)
        return partition == self.key.bucket(self.head.bucket)

    def accepts(self, operation: Insert, *, most: int = 100, most_bytes: int = 4 << 20) -> bool:
        """Return whether there is room for one more; AlreadyExists if it was added before."""
        key = operation.key
        if any(other.key == key for other, _ in self._inserts):
            raise AlreadyExists(f"{key.collection} {key.id} exists")
        return len(self._inserts) < most and self.bytes < most_bytes

    def key_of(self, number: int) -> Key:
        """Return the key of one document."""
        return self._inserts[number][0].key

    def statements(self, partition: Partition, token: str) -> list[Statement]:
        """Return the statements: the head moves, and each document gets an entry and a marker."""
        return insert_together([self], partition, token)

    def statements_after(self, partition: Partition, token: str, last: int) -> tuple[int, list[Statement]]:
        """Place the documents after `last`, or where they want to be; return the new last position."""
        known = self.head.last
        self.documents, self._last = [], None
        statements: list[Statement] = []
        taken = set[int]()
        for (operation, content), wanted in zip(self._inserts, self._wanted, strict=True):
            position = max(time.time_ns() // 1000, last + 1) if wanted is None else wanted
            while position in taken:
                position += 1
            taken.add(position)
            inside = position <= last and known is not None
            if position > last or known is None:
                last = self._last = max(last, position)
            document = inserted_document(operation, position, partition.bucket)
            self.documents.append(document)
            statements += self._insert(partition, document, content, token, inside=inside)
        return last, statements

    @property
    def appended(self) -> bool:
        """Whether the list's head moves."""
        return self._last is not None

    def _insert(
        self, partition: Partition, document: Document, content: Body, token: str, *, inside: bool
    ) -> Iterator[Statement]:
        collection, id = document.key.collection, document.id
        row_key = RowKey(f"l:{collection}", "", document.position)
        row = (*partition, *row_key, id, *content, document.version)
        yield (f"{ENTER} IF NOT EXISTS" if inside else ENTER), row
        yield from label_entries(partition, document, content)
        yield MARK, (*partition, *marker_row_key(collection, id), document.position, time.time(), token)
        if self._shares_partition(document.key):
            yield from InsertRow(document, content).statements(partition, token)

    def on_refused(self, rows: Rows) -> None:
        """Raise where an id is in the list; choose other positions or a fresh head otherwise."""
        collection = self.key.collection
        for document, (operation, _) in zip(self.documents, self._inserts, strict=True):
            if row := rows.get(marker_row_key(collection, document.id)):
                if not self._shares_partition(document.key) and time.time() - (row["at"] or 0.0) > UNFINISHED:
                    raise UnfinishedInsert(operation, row["place"], bucket_of(document))
                raise AlreadyExists(f"{collection} {document.id} exists")
        for number, document in enumerate(self.documents):
            if RowKey(f"l:{collection}", "", document.position) in rows:
                self._wanted[number] = document.position + 1
        seen = rows.get(head_row_key(collection))
        if self._last is None:
            return
        self.head.update(dict(seen) if seen else None)
        if self.head.closed or (seen is None and self.head.bucket):
            raise StaleListHead(self.key, self.head)

    def check_possible(self) -> None:
        if self.head.full:
            raise StaleListHead(self.key, self.head)

    def was_applied(self, rows: Rows, token: str) -> bool:
        collection = self.key.collection
        row_keys = (marker_row_key(collection, document.id) for document in self.documents)
        return all(row_key in rows and rows[row_key]["writer"] == token for row_key in row_keys)

    def on_applied(self) -> None:
        known = self.head
        if self._last is not None:
            known.last = max(known.last or 0, self._last)
        known.rows += len(self._inserts)
        known.bytes += self.bytes
        known.added += len(self._inserts)

    def undo(self, partition: Partition) -> list[Statement]:
        statements = [
            each
            for document in self.documents
            for each in delete_entries(partition, document, document.labels)
        ]
        for document in self.documents:
            if self._shares_partition(document.key):
                statements += InsertRow(document, body_of(document)).undo(partition)
        return statements


def merge(parts: Sequence[Part], partition: Partition, token: str) -> list[Statement]:
    """Return the statements of several parts as one transaction, with one head per list."""
    lists: dict[tuple[ListKey, bool], list[InsertEntries]] = {}
    statements: list[Statement] = []
    for part in parts:
        if isinstance(part, InsertEntries):
            lists.setdefault((part.key, part.head.last == OLDER), []).append(part)
        else:
            statements += part.statements(partition, token)
    for entries in lists.values():
        share_head(entries)
        statements += insert_together(entries, partition, token)
    return statements


def share_head(all_entries: Sequence[InsertEntries]) -> None:
    """Let all parts of one list use the newest head that one of them knows."""
    newest = max((entries.head for entries in all_entries), key=lambda known: known.last or 0)
    for entries in all_entries:
        entries.head = newest


def insert_together(
    all_entries: Sequence[InsertEntries], partition: Partition, token: str
) -> list[Statement]:
    """Return the statements of several inserts into one list, which move its head once."""
    known, key = all_entries[0].head, all_entries[0].key
    last = first = known.last if known.last is not None else known.floor
    statements: list[Statement] = []
    for entries in all_entries:
        last, statements_after = entries.statements_after(partition, token, last)
        statements += statements_after
    if not any(entries.appended for entries in all_entries):
        return statements
    rows = known.rows + sum(entries.count for entries in all_entries)
    size = known.bytes + sum(entries.bytes for entries in all_entries)
    change = (last, rows, size, token, *partition, *head_row_key(key.collection))
    if known.last is None:
        return [(BEGIN, change), *statements]
    new = [each.position for entries in all_entries for each in entries.documents if each.position > first]
    return [(GROW, (*change, min(new))), *statements]
