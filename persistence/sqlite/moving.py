"""A whole store as records, table by table in the order of an index, and records as rows again."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import apsw
import orjson

from persistence.sqlite.database import Row, fetch_all
from persistence.sqlite.documents import COLUMNS, decode
from persistence.sqlite.logs import unpack
from persistence.store import Append, Content, Job, Record

BATCH = 200
"""Rows read at once."""

Position = list[Any]
"""Where in a table a record is; what comes behind it is the rest."""

Batch = list[tuple[Position, Record]]


def documents(after: Position, connection: apsw.Connection) -> Batch:
    """Documents list by list, each list in order."""
    sql = f"""SELECT c.project, c.collection, d.collection_id, {COLUMNS}
        FROM documents d JOIN collections c USING (collection_id)
        WHERE (d.collection_id, d.parent, d.position)>(?,?,?)
        ORDER BY d.collection_id, d.parent, d.position LIMIT ?"""  # noqa: S608
    rows = fetch_all(connection, sql, (*(after or (-1, "", 0)), BATCH))
    found = [(row[2], decode(row[0], row[1], row[3:])) for row in rows]
    return [
        ([collection_id, document.parent, document.position], document) for collection_id, document in found
    ]


def jobs(after: Position, connection: apsw.Connection) -> Batch:
    """Jobs, held by nobody."""
    sql = """SELECT project, kind, id, due, token, payload FROM jobs
        WHERE (project, kind, id)>(?,?,?) ORDER BY project, kind, id LIMIT ?"""
    rows = fetch_all(connection, sql, (*(after or ("", "", "")), BATCH))
    return [
        ([project, kind, id], Job(project, kind, id, due, token, "", orjson.loads(payload)))
        for project, kind, id, due, token, payload in rows
    ]


def logs(after: Position, connection: apsw.Connection) -> Batch:
    """Segments log by log, each log in order."""
    sql = """SELECT log, project, id, sequence, events, until FROM logs JOIN segments USING (log)
        WHERE (log, sequence)>(?,?) ORDER BY log, sequence LIMIT ?"""
    rows = fetch_all(connection, sql, (*(after or (-1, 0)), BATCH))
    now = time.time()
    return [
        ([log, sequence], Append(project, id, sequence, list(unpack(events)), max(until - now, 0.0)))
        for log, project, id, sequence, events, until in rows
    ]


def contents(after: Position, connection: apsw.Connection) -> Batch:
    """Which contents there are."""
    sql = "SELECT project, id, size FROM contents WHERE (project, id)>(?,?) ORDER BY project, id LIMIT ?"
    rows = fetch_all(connection, sql, (*(after or ("", "")), BATCH))
    return [([project, id], Content(project, id, size)) for project, id, size in rows]


TABLES: Sequence[tuple[str, Callable[[Position, apsw.Connection], Batch]]] = (
    ("documents", documents),
    ("jobs", jobs),
    ("logs", logs),
    ("contents", contents),
)
"""What is exported from the main file, in this order; the chunks of vector stores come last."""
CHUNKS = "chunks"


def vector_stores(connection: apsw.Connection, after: Position) -> list[Row]:
    """(project, id) of vector stores from a place on."""
    sql = "SELECT project, id FROM vector_stores WHERE (project, id)>=(?,?) ORDER BY project, id"
    return fetch_all(connection, sql, tuple((after or ("", ""))[:2]))


def mark(table: str, place: Position) -> str:
    """A place as callers keep it."""
    return orjson.dumps([table, *place]).decode()


def place(mark: str) -> tuple[str, Position]:
    """The table and the place of a mark, the beginning for an empty one; ValueError for no mark of ours."""
    if not mark:
        return TABLES[0][0], []
    table, *after = orjson.loads(mark)
    if table != CHUNKS and table not in dict(TABLES):
        raise ValueError(f"{mark!r} is no mark of an export of this store")
    return table, after
