"""Parts of a write that concern documents: the object's own row, and its copies in lists."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from persistence.cassandra.commits import Part, Rows
from persistence.cassandra.driver import Statement
from persistence.cassandra.rows import (
    AT,
    COPIES,
    KEY,
    Body,
    Place,
    Spot,
    mark,
    of_document,
    seat_of,
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
LOOK = f"UPDATE objects SET checked=1 WHERE {AT} IF version=? AND place=?"

ENTER = f"INSERT INTO objects ({KEY}, id, value, state, labels, version) VALUES (?,?,?,?,?,?,?,?,?,?,?)"
UNMARK = f"DELETE FROM objects WHERE {AT} IF place=?"
FORGET = f"DELETE FROM objects WHERE {AT}"
COPY = f"UPDATE objects SET value=?, state=?, labels=?, version=?, writer=? WHERE {AT} IF version<?"

RESTORE = f"""UPDATE objects SET value=?, state=?, labels=?, version=?, writer='undone'
    WHERE {AT} IF version=? AND writer=?"""


class Own(Part):
    """The object's own row is made."""

    def __init__(self, document: Document, content: Body) -> None:
        self.document = document
        self._content = content
        self._spot = seat_of(document)[1]
        self.spots = frozenset({self._spot})

    def statements(self, place: Place, token: str) -> list[Statement]:
        """One insert, on the condition that there is none."""
        document, content = self.document, self._content
        return [
            (
                PUT,
                (
                    *(*place, *self._spot, document.id, document.parent, *content),
                    *(document.version, document.position, document.shelf, token),
                ),
            )
        ]

    def refused(self, rows: Rows) -> None:
        """An object of that id is there."""
        key = self.document.key
        if self._spot in rows:
            raise AlreadyExists(f"{key.collection} {key.id} exists")

    def undo(self, place: Place) -> list[Statement]:
        """Remove the row again."""
        document = self.document
        return [(DROP, (*place, *self._spot, document.version, document.position))]


class Versioned(Part):
    """A condition on an object: it is as it was read."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._spot = seat_of(document)[1]

    def spot(self) -> Spot:
        """The object's own row."""
        return self._spot

    def _condition(self, place: Place) -> tuple[object, ...]:
        return (*place, *self._spot, self.document.version, self.document.position)

    def refused(self, rows: Rows) -> None:
        """Another version is there, or none."""
        row = rows.get(self._spot)
        document = self.document
        if row is None or (row["version"], row["place"]) != (document.version, document.position):
            key = document.key
            raise VersionConflict(f"{key.collection} {key.id} is not at version {document.version}")


class Unchanged(Versioned):
    """Nothing but the condition."""

    checks_only = True

    def statements(self, place: Place, token: str) -> list[Statement]:
        """A cell that nobody reads, since a condition needs a change."""
        return [(LOOK, self._condition(place))]


class Changed(Versioned):
    """The object's own row is changed."""

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
        self.content = of_document(self.after)
        self.spots = frozenset({self._spot})

    def statements(self, place: Place, token: str) -> list[Statement]:
        """One update, on the condition that the version is the one that was read."""
        return [(SET, (*self.content, self.after.version, token, *self._condition(place)))]

    def undo(self, place: Place) -> list[Statement]:
        """Make it what it was."""
        before, after = self.document, self.after
        condition = (*place, *self._spot, after.version, after.position)
        return [(SET, (*of_document(before), before.version, "undone", *condition))]


class Gone(Versioned):
    """The object's own row is removed."""

    def __init__(self, document: Document) -> None:
        super().__init__(document)
        self.spots = frozenset({self._spot})

    def statements(self, place: Place, token: str) -> list[Statement]:
        """One delete, on the condition that the version is the one that was read."""
        return [(DROP, self._condition(place))]

    def present(self, rows: Rows, token: str) -> bool | None:
        """It was not applied if the row is there."""
        return False if self._spot in rows else None

    def undo(self, place: Place) -> list[Statement]:
        """Put it back."""
        return Own(self.document, of_document(self.document)).statements(place, "undone")


def label_copies(place: Place, document: Document, content: Body) -> Iterator[Statement]:
    """A document's rows in the lists of its labels: whole where that is little, else references."""
    whole = len(content.value) * len(document.labels) <= COPIES
    for label in document.labels:
        spot = Spot(f"l:{document.key.collection}", label, document.position)
        kept = content if whole else (None, None, None)
        yield ENTER, (*place, *spot, document.id, *kept, document.version)


def leave(place: Place, document: Document, labels: Sequence[str] | frozenset[str]) -> Iterator[Statement]:
    """A document's rows go from its list, if it is the one that is marked there."""
    collection, position = document.key.collection, document.position
    yield UNMARK, (*place, *mark(collection, document.id), position)
    for label in ("", *labels):
        yield FORGET, (*place, *Spot(f"l:{collection}", label, position))


class Copied(Part):
    """The copies of a document in its list follow its own row, unless a newer version is there.

    Or they go ahead of it (`leads`), with another change in their partition: then the same version
    may be there already as somebody else has made it, whose own row counts.
    """

    def __init__(self, change: Changed) -> None:
        self.change = change
        self.leads = False
        self._before, self._after, self._content = change.document, change.after, change.content
        self._spot = Spot(f"l:{self._after.key.collection}", "", self._after.position)
        self._stale, self._token = False, ""
        self.spots = frozenset({self._spot})

    def _below(self) -> int:
        """The version that must not be there yet."""
        return self._after.version if self.leads else self._after.version + 1

    def statements(self, place: Place, token: str) -> list[Statement]:
        """The main copy by version, those of labels along with it."""
        after, self._token = self._after, token
        if self._stale:
            return []
        statements: list[Statement] = [
            (COPY, (*self._content, after.version, token, *place, *self._spot, self._below()))
        ]
        statements += label_copies(place, after, self._content)
        for label in self._before.labels - after.labels:
            statements.append((FORGET, (*place, *self._spot._replace(label=label))))
        return statements

    def present(self, rows: Rows, token: str) -> None:
        """Nothing tells, and to do it twice is no harm."""

    def refused(self, rows: Rows) -> None:
        """A newer version was copied before, or the document left the list: nothing to do."""
        row = rows.get(self._spot)
        self._stale = row is None or row["version"] >= self._below()

    def undo(self, place: Place) -> list[Statement]:
        """Make the copies what they were."""
        before, content = self._before, of_document(self._before)
        if self._stale:
            return []
        spot = (*place, *self._spot)
        condition = (self._after.version, self._token)
        statements: list[Statement] = [(RESTORE, (*content, before.version, *spot, *condition))]
        statements += label_copies(place, before, content)
        for label in self._after.labels - before.labels:
            statements.append((FORGET, (*place, *self._spot._replace(label=label))))
        return statements


class Left(Part):
    """The copies of a document go."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._away = False
        self._mark = mark(document.key.collection, document.id)
        self.spots = frozenset({self._mark})

    def statements(self, place: Place, token: str) -> list[Statement]:
        """Mark, main copy and those of labels."""
        return [] if self._away else list(leave(place, self._document, self._document.labels))

    def present(self, rows: Rows, token: str) -> None:
        """Nothing tells, and to do it twice is no harm."""

    def refused(self, rows: Rows) -> None:
        """Somebody removed them before."""
        row = rows.get(self._mark)
        self._away = row is None or row["place"] != self._document.position
