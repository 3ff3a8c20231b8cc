"""Documents enter lists: the part of a write that moves a list's head on."""

import time
from collections.abc import Iterator, Sequence

from persistence.cassandra.commits import Part, Rows
from persistence.cassandra.documents import ENTER, Own, label_copies, leave
from persistence.cassandra.driver import Statement
from persistence.cassandra.heads import Head
from persistence.cassandra.rows import (
    AT,
    KEY,
    Body,
    ListKey,
    Place,
    Spot,
    body,
    head,
    inserted,
    mark,
    of_document,
    seat,
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


class Moved(StoreError):
    """The list's newest bucket is another one by now: look again."""

    def __init__(self, key: ListKey, head: Head) -> None:
        super().__init__(f"{key.collection} of {key.parent or key.project} moved on")
        self.key = key
        self.head = head


class Unfinished(AlreadyExists):
    """The document is in its list since some time: whether it is anywhere else must be looked up."""

    def __init__(self, operation: Insert, position: int, shelf: int) -> None:
        super().__init__(f"{operation.key.collection} {operation.key.id} exists")
        self.document = inserted(operation, position, shelf)


class Entries(Part):
    """Documents enter their list, behind what is in it, or at the places that they bring."""

    def __init__(self, key: ListKey, known: Head) -> None:
        self.key = key
        self.head = known
        self._inserts: list[tuple[Insert, Body]] = []
        self._wanted: list[int | None] = []
        self._last: int | None = None
        self.documents: list[Document] = []

    def add(self, operation: Insert) -> int:
        """One more document; its number in `documents` after the attempt."""
        content = body(operation.value, operation.state, operation.labels)
        self._inserts.append((operation, content))
        self._wanted.append(operation.position)
        self.spots |= {mark(self.key.collection, operation.key.id)}
        return len(self._inserts) - 1

    @property
    def count(self) -> int:
        """How many documents."""
        return len(self._inserts)

    @property
    def bytes(self) -> int:
        """How much all of it is."""
        return sum(
            len(content.value) * (2 if self._is_beside(operation.key) else 1)
            for operation, content in self._inserts
        )

    def _is_beside(self, key: Key) -> bool:
        """Whether a document's own row is made along with its entry."""
        place, _ = seat(key, self.key.parent, self.head.bucket)
        return place == self.key.bucket(self.head.bucket)

    def takes(self, operation: Insert, *, most: int = 100, most_bytes: int = 4 << 20) -> bool:
        """Whether there is room for one more; AlreadyExists if it is here already."""
        key = operation.key
        if any(other.key == key for other, _ in self._inserts):
            raise AlreadyExists(f"{key.collection} {key.id} exists")
        return len(self._inserts) < most and self.bytes < most_bytes

    def key_of(self, number: int) -> Key:
        """The key of one of them."""
        return self._inserts[number][0].key

    def statements(self, place: Place, token: str) -> list[Statement]:
        """The head moves on; each document is entered and marked."""
        return enter_together([self], place, token)

    def entering(self, place: Place, token: str, last: int) -> tuple[int, list[Statement]]:
        """Place the documents behind `last`, or where they want to be; the new last position."""
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
            document = inserted(operation, position, place.bucket)
            self.documents.append(document)
            statements += self._enter(place, document, content, token, inside=inside)
        return last, statements

    @property
    def appended(self) -> bool:
        """Whether the head moves on by it."""
        return self._last is not None

    def _enter(
        self, place: Place, document: Document, content: Body, token: str, *, inside: bool
    ) -> Iterator[Statement]:
        collection, id = document.key.collection, document.id
        spot = Spot(f"l:{collection}", "", document.position)
        row = (*place, *spot, id, *content, document.version)
        yield (f"{ENTER} IF NOT EXISTS" if inside else ENTER), row
        yield from label_copies(place, document, content)
        yield MARK, (*place, *mark(collection, id), document.position, time.time(), token)
        if self._is_beside(document.key):
            yield from Own(document, content).statements(place, token)

    def refused(self, rows: Rows) -> None:
        """An id is in the list, a place is taken, or the head is not what it was thought to be."""
        collection = self.key.collection
        for document, (operation, _) in zip(self.documents, self._inserts, strict=True):
            if row := rows.get(mark(collection, document.id)):
                if not self._is_beside(document.key) and time.time() - (row["at"] or 0.0) > UNFINISHED:
                    raise Unfinished(operation, row["place"], document.shelf)
                raise AlreadyExists(f"{collection} {document.id} exists")
        for number, document in enumerate(self.documents):
            if Spot(f"l:{collection}", "", document.position) in rows:
                self._wanted[number] = document.position + 1
        seen = rows.get(head(collection))
        if self._last is None:
            return
        self.head.see(dict(seen) if seen else None)
        if self.head.closed or (seen is None and self.head.bucket):
            raise Moved(self.key, self.head)

    def ready(self) -> None:
        """Moved if the bucket is full by now."""
        if self.head.full:
            raise Moved(self.key, self.head)

    def present(self, rows: Rows, token: str) -> bool:
        """The marks are this attempt's."""
        collection = self.key.collection
        spots = (mark(collection, document.id) for document in self.documents)
        return all(spot in rows and rows[spot]["writer"] == token for spot in spots)

    def applied(self) -> None:
        """Remember how far the list is."""
        known = self.head
        if self._last is not None:
            known.last = max(known.last or 0, self._last)
        known.rows += len(self._inserts)
        known.bytes += self.bytes
        known.added += len(self._inserts)

    def undo(self, place: Place) -> list[Statement]:
        """Take the documents out again; the head stays where it is."""
        statements = [each for document in self.documents for each in leave(place, document, document.labels)]
        for document in self.documents:
            if self._is_beside(document.key):
                statements += Own(document, of_document(document)).undo(place)
        return statements


def merge(parts: Sequence[Part], place: Place, token: str) -> list[Statement]:
    """The statements of several parts in one transaction, entries of one list together."""
    lists: dict[tuple[ListKey, bool], list[Entries]] = {}
    statements: list[Statement] = []
    for part in parts:
        if isinstance(part, Entries):
            lists.setdefault((part.key, part.head.last == OLDER), []).append(part)
        else:
            statements += part.statements(place, token)
    for entries in lists.values():
        share_head(entries)
        statements += enter_together(entries, place, token)
    return statements


def share_head(all_entries: Sequence[Entries]) -> None:
    """Let all go by the newest sight of the head that one of them has."""
    newest = max((entries.head for entries in all_entries), key=lambda known: known.last or 0)
    for entries in all_entries:
        entries.head = newest


def enter_together(all_entries: Sequence[Entries], place: Place, token: str) -> list[Statement]:
    """Entries of one list in one transaction: its head moves on once."""
    known, key = all_entries[0].head, all_entries[0].key
    last = first = known.last if known.last is not None else known.floor
    statements: list[Statement] = []
    for entries in all_entries:
        last, entering = entries.entering(place, token, last)
        statements += entering
    if not any(entries.appended for entries in all_entries):
        return statements
    rows = known.rows + sum(entries.count for entries in all_entries)
    size = known.bytes + sum(entries.bytes for entries in all_entries)
    change = (last, rows, size, token, *place, *head(key.collection))
    if known.last is None:
        return [(BEGIN, change), *statements]
    new = [each.position for entries in all_entries for each in entries.documents if each.position > first]
    return [(GROW, (*change, min(new))), *statements]
