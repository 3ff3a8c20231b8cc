"""Exact nearest neighbours over vectors in memory, refreshed from the database at each search.

Each process holds the vector stores that it searched last, up to a limit of bytes. It reads on from the last
chunk's number, and a counter shows removals. A vector store over the limit is scanned in the database. There
is no index of neighbours: at 100,000 vectors the scan is fast enough, exact, and filters cost nothing.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import apsw
import numpy as np
from numpy.typing import NDArray

from persistence.sqlite.database import fetch_all, fetch_one
from persistence.sqlite.filters import condition
from persistence.sqlite.index import FLOAT, check_dimensions, dimensions, hits, transaction
from persistence.store import Filter, Hit

BLOCK = 4096
"""Vectors read from the database at once."""

REMOVED = 0
"""The source of a row whose chunk was removed; real ones begin at 1."""

Integers = NDArray[np.int64]
Floats = NDArray[np.float32]
Element = TypeVar("Element", np.int64, np.float32)


@dataclass(frozen=True, slots=True)
class VectorBlock:
    """Vectors of length 1, with the numbers of their chunks and sources."""

    chunks: Integers
    sources: Integers
    vectors: Floats


class CachedVectors:
    """The vectors of one vector store in the order of their chunks' numbers; `lock` guards it."""

    def __init__(self, dimensions: int, removed: int, room: int) -> None:
        self.lock = threading.Lock()
        self._removed = removed
        self._count = 0
        self._chunks: Integers = np.empty(room, np.int64)
        self._sources: Integers = np.empty(room, np.int64)
        self._vectors: Floats = np.empty((room, dimensions), np.float32)

    @property
    def bytes(self) -> int:
        """The memory in use."""
        return self._vectors.nbytes + self._chunks.nbytes + self._sources.nbytes

    @property
    def dimensions(self) -> int:
        """The length of a vector."""
        return int(self._vectors.shape[1])

    @property
    def wasted(self) -> bool:
        """Whether more than a quarter of the rows are of deleted chunks."""
        return int(np.count_nonzero(self._sources[: self._count] == REMOVED)) * 4 > self._count

    def refresh(self, connection: apsw.Connection) -> VectorBlock:
        """Return the vectors as of the connection's transaction."""
        removed = removals(connection)
        if removed > self._removed:  # fewer: the transaction is older than what another thread saw
            live = np.fromiter((row[0] for row in connection.execute("SELECT chunk FROM chunks")), np.int64)
            deleted = ~np.isin(self._chunks[: self._count], live)
            self._sources[: self._count][deleted] = REMOVED
            self._removed = removed
        last = int(self._chunks[self._count - 1]) if self._count else 0
        for block in blocks(connection, last):
            self._append(block)
        end = self._count
        return VectorBlock(self._chunks[:end], self._sources[:end], self._vectors[:end])

    def _append(self, block: VectorBlock) -> None:
        """Append rows, growing by half; views that searches hold are not changed."""
        end = self._count + len(block.chunks)
        if end > len(self._chunks):
            room = max(end, len(self._chunks) * 3 // 2)
            self._chunks = grow(self._chunks, self._count, room)
            self._sources = grow(self._sources, self._count, room)
            self._vectors = grow(self._vectors, self._count, room)
        self._chunks[self._count : end] = block.chunks
        self._sources[self._count : end] = block.sources
        self._vectors[self._count : end] = block.vectors
        self._count = end


class VectorCache:
    """Cached vectors by database; the least recently searched are evicted first. Safe from any thread."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._by_file: OrderedDict[str, CachedVectors] = OrderedDict()
        self._lock = threading.Lock()

    def search(
        self, connection: apsw.Connection, vector: Sequence[float], limit: int, filter: Filter | None
    ) -> list[Hit]:
        """Return the nearest chunks by cosine similarity."""
        with transaction(connection, "DEFERRED"):
            length = dimensions(connection)
            if length == 0:
                return hits(connection, [])
            check_dimensions(length, len(vector))
            query = normalize(np.asarray([vector], np.float32))[0]
            allowed = None if filter is None else sources(connection, filter)
            best: list[tuple[int, float]] = []
            for block in self._blocks(connection, length):
                best += nearest(block, query, limit, allowed)
            best.sort(key=lambda scored: -scored[1])
            return hits(connection, best[:limit])

    def evict(self, filename: str) -> None:
        """Drop the vectors of a database."""
        with self._lock:
            self._by_file.pop(filename, None)

    def _blocks(self, connection: apsw.Connection, length: int) -> Iterator[VectorBlock]:
        """Yield all vectors: from memory in one block, or from the database in many."""
        [(count,)] = fetch_all(connection, "SELECT count(*) FROM chunks")
        if count * length * FLOAT > self._capacity:
            self.evict(connection.filename)
            yield from blocks(connection, 0)
            return
        cached = self._get_or_create(connection, length, count)
        with cached.lock:
            block = cached.refresh(connection)
            if cached.wasted:
                self.evict(connection.filename)
        self._evict()
        yield block

    def _get_or_create(self, connection: apsw.Connection, length: int, count: int) -> CachedVectors:
        """Return a database's entry, an empty one if there is none of that dimension; `refresh` fills it."""
        name = connection.filename
        with self._lock:
            cached = self._by_file.get(name)
            if cached is None or cached.dimensions != length:
                cached = self._by_file[name] = CachedVectors(
                    length, removals(connection), room=count + count // 8 + BLOCK
                )
            self._by_file.move_to_end(name)
            return cached

    def _evict(self) -> None:
        with self._lock:
            while len(self._by_file) > 1 and sum(m.bytes for m in self._by_file.values()) > self._capacity:
                self._by_file.popitem(last=False)


def removals(connection: apsw.Connection) -> int:
    """Return the counter of removed chunks."""
    row = fetch_one(connection, "SELECT removed FROM changes")
    return 0 if row is None else int(row[0])


def blocks(connection: apsw.Connection, after: int) -> Iterator[VectorBlock]:
    """Yield the vectors of chunks with greater numbers."""
    sql = """SELECT chunk, c.source, v.vector FROM vectors v CROSS JOIN chunks c USING (chunk)
        WHERE chunk>? ORDER BY chunk LIMIT ?"""
    while rows := fetch_all(connection, sql, (after, BLOCK)):
        chunks, sources, vectors = zip(*rows, strict=True)
        matrix = np.frombuffer(b"".join(vectors), np.float32).reshape(len(rows), -1)
        yield VectorBlock(np.array(chunks, np.int64), np.array(sources, np.int64), normalize(matrix))
        after = chunks[-1]


def normalize(vectors: Floats) -> Floats:
    """Scale vectors to length 1; zero and infinite ones become 0."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    usable = np.isfinite(norms) & (norms > 0)
    return np.where(usable, vectors / np.where(usable, norms, 1), 0).astype(np.float32)


def sources(connection: apsw.Connection, filter: Filter) -> Integers:
    """Return the numbers of the files that a filter passes."""
    where, bindings = condition(filter)
    sql = f"SELECT source FROM sources WHERE {where}"  # noqa: S608 - conditions of our own
    return np.fromiter((row[0] for row in connection.execute(sql, tuple(bindings))), np.int64)


def nearest(
    block: VectorBlock, query: Floats, limit: int, allowed: Integers | None
) -> list[tuple[int, float]]:
    """Return (chunk, cosine) of the best rows, unordered."""
    usable = block.sources != REMOVED if allowed is None else np.isin(block.sources, allowed)
    scores = np.where(usable, block.vectors @ query, -np.inf)
    rest = max(0, len(scores) - limit)
    best = np.argpartition(scores, rest)[rest:] if rest else np.arange(len(scores))
    return [(int(block.chunks[row]), float(scores[row])) for row in best if scores[row] > -np.inf]


def grow(old: NDArray[Element], count: int, room: int) -> NDArray[Element]:
    """Return a larger array that begins with the rows of another."""
    new = np.empty((room, *old.shape[1:]), old.dtype)
    new[:count] = old[:count]
    return new
