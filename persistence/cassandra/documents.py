"""Parts of a write that concern documents: the object's row, and its entries in lists."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from persistence.cassandra.commits import Part, Rows
from persistence.cassandra.driver import Statement
from persistence.cassandra.rows import (
    AT,
    KEY,
    MAX_LABEL_COPY_BYTES,
    Body,
    Partition,
    RowKey,
    body_of,
    bucket_of,
    marker_row_key,
    primary_key_of,
)
from persistence.errors import AlreadyExists, VersionConflict
from persistence.store import Document, Replace

# Table and column names are ours: nothing of a caller's is ever in the text of a statement.
PUT = f"""INSERT INTO objects ({KEY}, id, parent, value, state, labels, version, place, shelf, writer)
    VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) IF NOT EXISTS"""
SET = (
    f"UPDATE objects SET value=?, state=?, labels=?, version=?, writer=? WHERE {AT} IF version=? AND place=?"
)
DROP = f"DELETE FROM objects WHERE {AT} IF version=? AND place=?"
CHECK_VERSION = f"UPDATE objects SET checked=1 WHERE {AT} IF version=? AND place=?"

ENTER = f"INSERT INTO objects ({KEY}, id, value, state, labels, version) VALUES (?,?,?,?,?,?,?,?,?,?,?)"
UNMARK = f"DELETE FROM objects WHERE {AT} IF place=?"
DELETE_ENTRY = f"DELETE FROM objects WHERE {AT}"
COPY = f"UPDATE objects SET value=?, state=?, labels=?, version=?, writer=? WHERE {AT} IF version<?"

RESTORE = f"""UPDATE objects SET value=?, state=?, labels=?, version=?, writer='undone'
    WHERE {AT} IF version=? AND writer=?"""


class InsertRow(Part):
    """Insert the object's row."""

    def __init__(self, document: Document, content: Body) -> None:
        self.document = document
        self._content = content
        self._row_key = primary_key_of(document)[1]
        self.row_keys = frozenset({self._row_key})

    def statements(self, partition: Partition, token: str) -> list[Statement]:
        document, content = self.document, self._content
        return [
            (
                PUT,
                (
                    *(*partition, *self._row_key, document.id, document.parent, *content),
                    *(document.version, document.position, bucket_of(document), token),
                ),
            )
        ]

    def on_refused(self, rows: Rows) -> None:
        key = self.document.key
        if self._row_key in rows:
            raise AlreadyExists(f"{key.collection} {key.id} exists")

    def undo(self, partition: Partition) -> list[Statement]:
        document = self.document
        return [(DROP, (*partition, *self._row_key, document.version, document.position))]


class VersionCondition(Part):
    """A condition: the object has the version that was read."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._row_key = primary_key_of(document)[1]

    def row_key(self) -> RowKey:
        return self._row_key

    def _condition(self, partition: Partition) -> tuple[object, ...]:
        return (*partition, *self._row_key, self.document.version, self.document.position)

    def on_refused(self, rows: Rows) -> None:
        row = rows.get(self._row_key)
        document = self.document
        if row is None or (row["version"], row["place"]) != (document.version, document.position):
            key = document.key
            raise VersionConflict(f"{key.collection} {key.id} is not at version {document.version}")


class CheckVersion(VersionCondition):
    """Check the version and change nothing."""

    checks_only = True

    def statements(self, partition: Partition, token: str) -> list[Statement]:
        """Set a cell that nobody reads, since a condition needs a change."""
        return [(CHECK_VERSION, self._condition(partition))]


class ReplaceRow(VersionCondition):
    """Replace the object's row."""

    def __init__(self, operation: Replace) -> None:
        super().__init__(operation.document)
        before = operation.document
        self.after = replace(
            before,
            value=before.value if operation.value is None else operation.value,
            state=before.state if operation.state is None else operation.state,
            labels=before.labels if operation.labels is None else operation.labels,
            version=before.version + 1,
        )
        self.content = body_of(self.after)
        self.row_keys = frozenset({self._row_key})

    def statements(self, partition: Partition, token: str) -> list[Statement]:
        return [(SET, (*self.content, self.after.version, token, *self._condition(partition)))]

    def undo(self, partition: Partition) -> list[Statement]:
        before, after = self.document, self.after
        condition = (*partition, *self._row_key, after.version, after.position)
        return [(SET, (*body_of(before), before.version, "undone", *condition))]


class DeleteRow(VersionCondition):
    """Delete the object's row."""

    def __init__(self, document: Document) -> None:
        super().__init__(document)
        self.row_keys = frozenset({self._row_key})

    def statements(self, partition: Partition, token: str) -> list[Statement]:
        return [(DROP, self._condition(partition))]

    def was_applied(self, rows: Rows, token: str) -> bool | None:
        return False if self._row_key in rows else None

    def undo(self, partition: Partition) -> list[Statement]:
        return InsertRow(self.document, body_of(self.document)).statements(partition, "undone")


def label_entries(partition: Partition, document: Document, content: Body) -> Iterator[Statement]:
    """Yield the entries of a document by label: copies if they are small, otherwise references."""
    whole = len(content.value) * len(document.labels) <= MAX_LABEL_COPY_BYTES
    for label in document.labels:
        row_key = RowKey(f"l:{document.key.collection}", label, document.position)
        kept = content if whole else (None, None, None)
        yield ENTER, (*partition, *row_key, document.id, *kept, document.version)


def delete_entries(
    partition: Partition, document: Document, labels: Sequence[str] | frozenset[str]
) -> Iterator[Statement]:
    """Yield the deletes of a document's entries, on the condition of its marker."""
    collection, position = document.key.collection, document.position
    yield UNMARK, (*partition, *marker_row_key(collection, document.id), position)
    for label in ("", *labels):
        yield DELETE_ENTRY, (*partition, *RowKey(f"l:{collection}", label, position))


class UpdateEntries(Part):
    """Copy a changed object to its entries, unless they hold a newer version.

    With `leads` they are updated before the row, with another change in their partition; then the same
    version may be there from another writer, whose row counts.
    """

    def __init__(self, change: ReplaceRow) -> None:
        self.change = change
        self.leads = False
        self._before, self._after, self._content = change.document, change.after, change.content
        self._row_key = RowKey(f"l:{self._after.key.collection}", "", self._after.position)
        self._stale, self._token = False, ""
        self.row_keys = frozenset({self._row_key})

    def _below(self) -> int:
        """Return the version that the entry must be below."""
        return self._after.version if self.leads else self._after.version + 1

    def statements(self, partition: Partition, token: str) -> list[Statement]:
        """Update the main entry by version, and the entries by label with it."""
        after, self._token = self._after, token
        if self._stale:
            return []
        statements: list[Statement] = [
            (COPY, (*self._content, after.version, token, *partition, *self._row_key, self._below()))
        ]
        statements += label_entries(partition, after, self._content)
        for label in self._before.labels - after.labels:
            statements.append((DELETE_ENTRY, (*partition, *self._row_key._replace(label=label))))
        return statements

    def was_applied(self, rows: Rows, token: str) -> None:
        """Return None: no row shows it, and applying it twice is harmless."""

    def on_refused(self, rows: Rows) -> None:
        """Do nothing where a newer version was copied or the document left the list."""
        row = rows.get(self._row_key)
        self._stale = row is None or row["version"] >= self._below()

    def undo(self, partition: Partition) -> list[Statement]:
        before, content = self._before, body_of(self._before)
        if self._stale:
            return []
        row_key = (*partition, *self._row_key)
        condition = (self._after.version, self._token)
        statements: list[Statement] = [(RESTORE, (*content, before.version, *row_key, *condition))]
        statements += label_entries(partition, before, content)
        for label in self._after.labels - before.labels:
            statements.append((DELETE_ENTRY, (*partition, *self._row_key._replace(label=label))))
        return statements


class DeleteEntries(Part):
    """Delete a document's entries."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._away = False
        self._mark = marker_row_key(document.key.collection, document.id)
        self.row_keys = frozenset({self._mark})

    def statements(self, partition: Partition, token: str) -> list[Statement]:
        return [] if self._away else list(delete_entries(partition, self._document, self._document.labels))

    def was_applied(self, rows: Rows, token: str) -> None:
        """Return None: no row shows it, and applying it twice is harmless."""

    def on_refused(self, rows: Rows) -> None:
        """Do nothing where the entries were deleted already."""
        row = rows.get(self._mark)
        self._away = row is None or row["place"] != self._document.position
