"""Documents in SQLite: one row each, found by id or by position in a list."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import apsw
import orjson

from persistence import large_json
from persistence.documents import MAX_DOCUMENT_BYTES, PAGE_BYTES
from persistence.errors import AlreadyExists, CursorNotFound, DocumentTooLarge, VersionConflict
from persistence.sqlite.database import Row, fetch_all, fetch_one
from persistence.store import Check, Clear, Delete, Document, Insert, Key, Order, Replace
from persistence.types import JSON

FIRST, LAST = -(2**63), 2**63 - 1

COLUMNS = "d.id, d.parent, d.position, d.version, d.labels, d.state, d.value"
GET = f"SELECT {COLUMNS} FROM documents d WHERE d.collection_id=? AND d.id=?"  # noqa: S608 - names of ours
ROW = "SELECT row, version, position FROM documents WHERE collection_id=? AND id=?"
PLACE = "SELECT position FROM documents WHERE collection_id=? AND id=? AND parent=?"
LIST = f"""SELECT {COLUMNS} FROM documents d WHERE d.collection_id=? AND d.parent=?
    AND d.position>? AND d.position<? ORDER BY d.position {{order}} LIMIT ?"""  # noqa: S608
LABELLED = f"""SELECT {COLUMNS} FROM labels l JOIN documents d ON d.row=l.document
    WHERE l.collection_id=? AND l.parent=? AND l.label=?
    AND l.position>? AND l.position<? ORDER BY l.position {{order}} LIMIT ?"""  # noqa: S608


def encode(value: Any) -> bytes:
    """Encode JSON; ValueError for other values."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise ValueError(f"not JSON: {error}") from error


def decode(project: str, collection: str, row: Row) -> Document:
    """Return the document of a row of COLUMNS."""
    return _document(
        project, collection, row, orjson.loads(row[-1]), {} if row[-2] is None else orjson.loads(row[-2])
    )


async def decode_rows(project: str, collection: str, rows: Iterable[Row]) -> list[Document]:
    """Return the documents of rows; other requests have their turn between and within large ones."""
    documents: list[Document] = []
    pauses = large_json.Pauses()
    for row in rows:
        if row_size(row) < large_json.LARGE_BYTES:
            documents.append(decode(project, collection, row))
        else:
            value, state = await large_json.loads(row[-1]), await large_json.loads(row[-2] or b"{}")
            documents.append(_document(project, collection, row, value, state))
        await pauses.pause_if_due()
    return documents


def _document(project: str, collection: str, row: Row, value: JSON, state: JSON) -> Document:
    id, parent, position, version, labels, *_ = row
    return Document(
        Key(project, collection, id),
        value,
        state,
        parent,
        frozenset() if labels is None else frozenset(orjson.loads(labels)),
        position,
        version,
    )


def row_size(row: Row) -> int:
    """Return the bytes of a row's value and state."""
    return len(row[-1]) + len(row[-2] or b"")


class Collections:
    """The number of each (project, collection); numbers never change, so they are cached."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], int] = {}

    def find(self, connection: apsw.Connection, project: str, collection: str) -> int | None:
        """Return a collection's number, or None if it is empty; call it outside of a transaction only."""
        number = self._numbers.get((project, collection))
        if number is None:
            number = select(connection, project, collection)
            if number is not None:
                self._numbers[project, collection] = number
        return number

    def peek(self, connection: apsw.Connection, project: str, collection: str) -> int | None:
        """Return the number inside a transaction; a rollback may still remove it, so it is not remembered."""
        number = self._numbers.get((project, collection))
        return select(connection, project, collection) if number is None else number

    def make(self, connection: apsw.Connection, project: str, collection: str) -> int:
        """Return a collection's number, a new one if it has none; call it inside a transaction."""
        number = self.peek(connection, project, collection)
        if number is None:
            sql = "INSERT INTO collections (project, collection) VALUES (?, ?)"
            connection.execute(sql, (project, collection))
            number = connection.last_insert_rowid()
        return number


def select(connection: apsw.Connection, project: str, collection: str) -> int | None:
    """Read a collection's number from the table."""
    sql = "SELECT collection_id FROM collections WHERE project=? AND collection=?"
    row = fetch_one(connection, sql, (project, collection))
    return None if row is None else int(row[0])


class Documents:
    """Statements over documents; reads outside of a transaction, writes inside one."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._collections = Collections()
        self._clock = clock

    def get(self, connection: apsw.Connection, key: Key) -> Row | None:
        """Return the row of a document, or None."""
        collection_id = self._collections.find(connection, key.project, key.collection)
        return None if collection_id is None else fetch_one(connection, GET, (collection_id, key.id))

    def page(
        self,
        connection: apsw.Connection,
        project: str,
        collection: str,
        parent: str,
        label: str | None,
        after: str | None,
        before: str | None,
        limit: int,
        order: Order,
    ) -> tuple[list[Row], bool]:
        """Return the rows of a page of a list, and whether there are more.

        These are at most two lookups of cursors and one range of an index.
        """
        collection_id = self._collections.find(connection, project, collection)
        lowest, highest = FIRST, LAST
        if after is not None:
            place = position(connection, collection_id, after, parent)
            lowest, highest = (place, highest) if order == "asc" else (lowest, place)
        if before is not None:
            place = position(connection, collection_id, before, parent)
            lowest, highest = (lowest, place) if order == "asc" else (place, highest)
        if collection_id is None:
            return [], False
        backwards = before is not None and after is None
        direction = "ASC" if (order == "asc") != backwards else "DESC"
        sql = LIST if label is None else LABELLED
        scope: Row = (collection_id, parent) if label is None else (collection_id, parent, label)
        bindings = (*scope, lowest, highest, limit + 1)
        rows, more = take_rows(connection.execute(sql.format(order=direction), bindings), limit)
        if backwards:
            rows.reverse()
        return rows, more

    def insert(self, connection: apsw.Connection, operation: Insert) -> Document:
        """Insert a document at the end of its list, or at its position."""
        key, parent = operation.key, operation.parent
        collection_id = self._collections.make(connection, key.project, key.collection)
        if operation.position is None:
            place = self._next(connection, collection_id, parent)
        else:
            place = free_position(connection, collection_id, parent, operation.position)
        document = Document(key, operation.value, operation.state, parent, operation.labels, place, 1)
        try:
            self._add(connection, collection_id, document)
        except apsw.ConstraintError as error:
            raise AlreadyExists(f"{key.collection} {key.id} exists") from error
        return document

    def put(self, connection: apsw.Connection, document: Document) -> None:
        """Insert a document of another store as it is, replacing one of the same id."""
        key = document.key
        collection_id = self._collections.make(connection, key.project, key.collection)
        row = fetch_one(connection, ROW, (collection_id, key.id))
        if row is not None:
            remove(connection, row[0])
        place = free_position(connection, collection_id, document.parent, document.position)
        moved = Document(
            key, document.value, document.state, document.parent, document.labels, place, document.version
        )
        self._add(connection, collection_id, moved)

    def replace(self, connection: apsw.Connection, operation: Replace) -> Document:
        """Replace a document if it is unchanged."""
        before = operation.document
        after = Document(
            before.key,
            before.value if operation.value is None else operation.value,
            before.state if operation.state is None else operation.state,
            before.parent,
            before.labels if operation.labels is None else operation.labels,
            before.position,
            before.version + 1,
        )
        row = self._row(connection, before)
        sql = "UPDATE documents SET version=?, labels=?, state=?, value=? WHERE row=?"
        connection.execute(sql, (after.version, *blobs(after), row))
        if after.labels != before.labels:
            self._label(connection, row, before.labels - after.labels, after.labels - before.labels)
        return after

    def delete(self, connection: apsw.Connection, operation: Delete) -> None:
        """Delete a document if it is unchanged."""
        remove(connection, self._row(connection, operation.document))

    def check(self, connection: apsw.Connection, operation: Check) -> None:
        """Raise VersionConflict unless a document is unchanged."""
        self._row(connection, operation.document)

    def clear(self, connection: apsw.Connection, operation: Clear) -> None:
        """Delete a list, or the first documents of it."""
        collection_id = self._collections.peek(connection, operation.project, operation.collection)
        if collection_id is None:
            return
        scope: Row = (collection_id, operation.parent)
        last = LAST
        if operation.limit is not None:
            sql = "SELECT position FROM documents WHERE collection_id=? AND parent=? ORDER BY position"
            sql += " LIMIT 1 OFFSET ?"
            found = fetch_one(connection, sql, (*scope, operation.limit))
            last = LAST if found is None else found[0] - 1
        for table in ("labels", "documents"):
            sql = f"DELETE FROM {table} WHERE collection_id=? AND parent=? AND position<=?"  # noqa: S608
            connection.execute(sql, (*scope, last))

    def _next(self, connection: apsw.Connection, collection_id: int, parent: str) -> int:
        """Return the position after the last of a list: now, or later if the clock is behind."""
        sql = "SELECT max(position) FROM documents WHERE collection_id=? AND parent=?"
        ((last,),) = fetch_all(connection, sql, (collection_id, parent))
        now = int(self._clock() * 1_000_000)
        return now if last is None else max(now, last + 1)

    def _add(self, connection: apsw.Connection, collection_id: int, document: Document) -> None:
        key, parent, place = document.key, document.parent, document.position
        sql = (
            "INSERT INTO documents (collection_id, id, parent, position, version, labels, state, value) "
            "VALUES (?,?,?,?,?,?,?,?)"
        )
        connection.execute(sql, (collection_id, key.id, parent, place, document.version, *blobs(document)))
        if document.labels:
            self._label(connection, connection.last_insert_rowid(), frozenset(), document.labels)

    def _row(self, connection: apsw.Connection, document: Document) -> int:
        """Return the row of an unchanged document; its position tells it from a later one of the same id."""
        key = document.key
        collection_id = self._collections.peek(connection, key.project, key.collection)
        row = fetch_one(connection, ROW, (collection_id, key.id))
        if row is None or row[1:] != (document.version, document.position):
            raise VersionConflict(f"{key.collection} {key.id} is not at version {document.version}")
        return int(row[0])

    def _label(
        self, connection: apsw.Connection, row: int, removed: frozenset[str], added: frozenset[str]
    ) -> None:
        """Remove a document from the lists of some labels and add it to others."""
        for label in removed:
            sql = (
                "DELETE FROM labels WHERE label=? AND (collection_id, parent, position)="
                "(SELECT collection_id, parent, position FROM documents WHERE row=?)"
            )
            connection.execute(sql, (label, row))
        for label in added:
            sql = (
                "INSERT INTO labels (collection_id, parent, label, position, document) "
                "SELECT collection_id, parent, ?, position, row FROM documents WHERE row=?"
            )
            connection.execute(sql, (label, row))


def take_rows(cursor: apsw.Cursor, limit: int) -> tuple[list[Row], bool]:
    """Read the rows of a page, and whether there are more; at most `limit`, and about PAGE_BYTES."""
    rows: list[Row] = []
    size = 0
    for row in cursor:
        size += row_size(row)
        if len(rows) == limit or (rows and size > PAGE_BYTES):
            cursor.close()
            return rows, True
        rows.append(row)
    return rows, False


def position(connection: apsw.Connection, collection_id: int | None, id: str, parent: str) -> int:
    """Return the position of a cursor in its list."""
    row = fetch_one(connection, PLACE, (collection_id, id, parent))
    if row is None:
        raise CursorNotFound(f"{id} is not in the list")
    return int(row[0])


def free_position(connection: apsw.Connection, collection_id: int, parent: str, wanted: int) -> int:
    """Return the first free position of a list from `wanted` on."""
    sql = "SELECT 1 FROM documents WHERE collection_id=? AND parent=? AND position=?"
    while fetch_one(connection, sql, (collection_id, parent, wanted)) is not None:
        wanted += 1
    return wanted


def remove(connection: apsw.Connection, row: int) -> None:
    """Delete a document's row and its labels."""
    sql = "DELETE FROM documents WHERE row=? RETURNING collection_id, parent, position, labels"
    ((collection_id, parent, place, labels),) = fetch_all(connection, sql, (row,))
    for label in () if labels is None else orjson.loads(labels):
        sql = "DELETE FROM labels WHERE collection_id=? AND parent=? AND label=? AND position=?"
        connection.execute(sql, (collection_id, parent, label, place))


def blobs(document: Document) -> tuple[bytes | None, bytes | None, bytes]:
    """Return labels, state and value as they are stored; DocumentTooLarge."""
    state, value = encode(document.state) if document.state else None, encode(document.value)
    size = len(value) + len(state or b"")
    if size > MAX_DOCUMENT_BYTES:
        raise DocumentTooLarge(f"It has {size} bytes, and {MAX_DOCUMENT_BYTES} are allowed.")
    return encode(sorted(document.labels)) if document.labels else None, state, value
