"""The chunks of one vector store: functions over its database, each one transaction."""

from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import apsw
import orjson

from persistence.errors import DimensionMismatch
from persistence.sqlite import bm25, words
from persistence.sqlite.database import fetch_all, fetch_one
from persistence.sqlite.documents import encode
from persistence.sqlite.filters import condition, kind, number
from persistence.store import Attributes, Chunk, Filter, Hit

CANDIDATES = 100
"""Chunks that a search weighs a second time, by all words of the query."""

FLOAT = 4
"""Bytes of a vector's element."""


@contextmanager
def transaction(connection: apsw.Connection, mode: str = "IMMEDIATE") -> Iterator[None]:
    """Commit what is done inside, or roll it back."""
    connection.execute(f"BEGIN {mode}")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def put(connection: apsw.Connection, file: str, chunks: Sequence[Chunk], attributes: Attributes) -> None:
    """Write chunks of a file, replacing those of the same indexes, and its attributes."""
    with transaction(connection):
        expect_dimensions(connection, chunks)
        sql = "INSERT OR IGNORE INTO sources (file, attributes) VALUES (?,'{}')"
        connection.execute(sql, (file,))
        source = find_source(connection, file)
        set_attribute_rows(connection, source, attributes)
        sql = "SELECT chunk FROM chunks WHERE source=? AND number=?"
        for chunk in chunks:
            delete_rows(connection, fetch_all(connection, sql, (source, chunk.index)))
            insert(connection, source, chunk)


def set_attributes(connection: apsw.Connection, file: str, attributes: Attributes) -> None:
    """Set the attributes of a file, if it has chunks."""
    with transaction(connection):
        source = find_source(connection, file)
        if source is not None:
            set_attribute_rows(connection, source, attributes)


def delete(connection: apsw.Connection, file: str) -> None:
    """Delete a file's chunks."""
    with transaction(connection):
        source = find_source(connection, file)
        if source is not None:
            delete_rows(
                connection, fetch_all(connection, "SELECT chunk FROM chunks WHERE source=?", (source,))
            )
            set_attribute_rows(connection, source, {})
            connection.execute("DELETE FROM sources WHERE source=?", (source,))


def read(connection: apsw.Connection, file: str, after: int, limit: int) -> list[Chunk]:
    """Return chunks of a file by index, without their vectors."""
    sql = "SELECT number, text FROM chunks WHERE source=? AND number>? ORDER BY number LIMIT ?"
    with transaction(connection, "DEFERRED"):
        rows = fetch_all(connection, sql, (find_source(connection, file), after, limit))
    return [Chunk(number, text) for number, text in rows]


def export(
    connection: apsw.Connection, file: str, number: int, limit: int
) -> tuple[str, list[Chunk], dict[str, Any]] | None:
    """Return the chunks after one of a file, of that file or the next by name, with their vectors."""
    sql = """SELECT s.source, s.file, s.attributes FROM sources s WHERE s.file>=? AND EXISTS
        (SELECT 1 FROM chunks c WHERE c.source=s.source AND (s.file>? OR c.number>?))
        ORDER BY s.file LIMIT 1"""
    with transaction(connection, "DEFERRED"):
        row = fetch_one(connection, sql, (file, file, number))
        if row is None:
            return None
        source, next_file, attributes = row
        sql = """SELECT c.number, c.text, v.vector FROM chunks c LEFT JOIN vectors v USING (chunk)
            WHERE c.source=? AND c.number>? ORDER BY c.number LIMIT ?"""
        rows = fetch_all(connection, sql, (source, number if next_file == file else -1, limit))
    chunks = [Chunk(n, text, None if v is None else array("f", v).tolist()) for n, text, v in rows]
    return next_file, chunks, orjson.loads(attributes)


def search_text(connection: apsw.Connection, query: str, limit: int, filter: Filter | None) -> list[Hit]:
    """Return the best chunks by BM25.

    If many chunks have a word of the query, those with its rarest words are found first and ranked by all
    words. If they are too few, as with a narrow filter, more words are added.
    """
    with transaction(connection, "DEFERRED"):
        phrases = words.known_phrases(connection, query)
        postings = words.POSTINGS
        while (rarest := words.rarest_phrases(phrases, postings)) != phrases:
            candidates = ranked(connection, rarest, max(limit, CANDIDATES), filter)
            if len(candidates) >= limit:
                return weighed(connection, candidates, phrases)[:limit]
            postings *= 4
        return ranked(connection, phrases, limit, filter)


def weighed(connection: apsw.Connection, hits: list[Hit], phrases: list[words.Phrase]) -> list[Hit]:
    """Return chunks in the order of their scores by all the phrases."""
    [(total,)] = fetch_all(connection, "SELECT count(*) FROM chunks")
    texts = [words.stems(connection, words.space_out(hit.text)) for hit in hits]
    scores = bm25.scores(texts, phrases, total)
    scored = [replace(hit, score=score) for hit, score in zip(hits, scores, strict=True)]
    return sorted(scored, key=lambda hit: -hit.score)


def ranked(
    connection: apsw.Connection, phrases: list[words.Phrase], limit: int, filter: Filter | None
) -> list[Hit]:
    """Return the best chunks with any of the phrases; FTS5's rank is BM25 negated."""
    if not phrases:
        return []
    where, bindings = condition(filter)
    sql = f"""SELECT s.file, c.number, c.text, -w.rank FROM words w
        CROSS JOIN chunks c ON c.chunk=w.rowid CROSS JOIN sources s USING (source)
        WHERE w.words MATCH ? AND {where} ORDER BY w.rank LIMIT ?"""  # noqa: S608 - conditions of our own
    rows = fetch_all(connection, sql, (words.match_expression(phrases), *bindings, limit))
    return [Hit(file, number, text, score) for file, number, text, score in rows]


def hits(connection: apsw.Connection, scores: Sequence[tuple[int, float]]) -> list[Hit]:
    """Return chunks by number with their scores, without deleted ones."""
    sql = "SELECT s.file, c.number, c.text FROM chunks c JOIN sources s USING (source) WHERE c.chunk=?"
    rows = ((fetch_one(connection, sql, (chunk,)), score) for chunk, score in scores)
    return [Hit(row[0], row[1], row[2], score) for row, score in rows if row is not None]


def find_source(connection: apsw.Connection, file: str) -> int | None:
    """Return the number of a file, or None if it has no chunks."""
    row = fetch_one(connection, "SELECT source FROM sources WHERE file=?", (file,))
    return None if row is None else int(row[0])


def set_attribute_rows(connection: apsw.Connection, source: int | None, attributes: Attributes) -> None:
    """Replace the attributes of a file."""
    [(old,)] = fetch_all(connection, "SELECT attributes FROM sources WHERE source=?", (source,))
    if orjson.loads(old) == attributes:
        return
    rows = [(name, kind(value), number(value), source) for name, value in orjson.loads(old).items()]
    sql = "DELETE FROM attributes WHERE name=? AND kind=? AND value=? AND source=?"
    connection.executemany(sql, rows)
    rows = [(name, kind(value), number(value), source) for name, value in attributes.items()]
    connection.executemany("INSERT INTO attributes VALUES (?,?,?,?)", rows)
    sql = "UPDATE sources SET attributes=? WHERE source=?"
    connection.execute(sql, (encode(dict(attributes)), source))


def insert(connection: apsw.Connection, source: int | None, chunk: Chunk) -> None:
    """Insert a new chunk."""
    sql = "INSERT INTO chunks (source, number, text) VALUES (?,?,?)"
    connection.execute(sql, (source, chunk.index, chunk.text))
    row = connection.last_insert_rowid()
    connection.execute("INSERT INTO words (rowid, text) VALUES (?,?)", (row, words.space_out(chunk.text)))
    if chunk.vector is not None:
        connection.execute("INSERT INTO vectors VALUES (?,?)", (row, array("f", chunk.vector).tobytes()))


def delete_rows(connection: apsw.Connection, chunks: Sequence[tuple[Any, ...]]) -> None:
    """Delete chunks by number."""
    if chunks:
        for table, column in (("words", "rowid"), ("vectors", "chunk"), ("chunks", "chunk")):
            connection.executemany(f"DELETE FROM {table} WHERE {column}=?", chunks)  # noqa: S608
        connection.execute("UPDATE changes SET removed=removed+1")


def dimensions(connection: apsw.Connection) -> int:
    """Return the length of the vectors, 0 while there are none."""
    row = fetch_one(connection, "SELECT length(vector) FROM vectors LIMIT 1")
    return 0 if row is None else int(row[0]) // FLOAT


def expect_dimensions(connection: apsw.Connection, chunks: Sequence[Chunk]) -> None:
    """Raise DimensionMismatch unless all vectors have the length of the vector store's."""
    length = dimensions(connection)
    for chunk in chunks:
        if chunk.vector is not None:
            length = length or len(chunk.vector)
            check_dimensions(length, len(chunk.vector))


def check_dimensions(length: int, given: int) -> None:
    """Raise DimensionMismatch unless the lengths are equal."""
    if given != length:
        raise DimensionMismatch(f"a vector of {given} numbers in a vector store of {length}")
