"""Search by words: tables of postings, and BM25.

A row says which chunks of a batch contain a term, how often, and how long they are. A part has SLOTS
partitions, chosen by the term's hash: a query reads one of them per term and part.
"""

import asyncio
import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from persistence.cassandra.driver import Connection, Statement
from persistence.cassandra.vector_store_meta import VectorStoreMeta

SLOTS = 12
K1, B = 1.2, 0.75

COMMON = 5000
"""Rows of a term in one part that are read; a term with more is too common to tell chunks apart."""

WEIGHED = 500_000
"""Occurrences that a search weighs, rarest terms first."""

TERMS = 64
"""Terms of a query that are looked for at most."""

LONGEST = 200
"""Characters of a term that count."""

BYTES = 500_000
"""Bytes of rows in one statement, about; all of one partition, so its size is the only limit."""

AT_ONCE = 32

PUT = """INSERT INTO postings (project, store, part, slot, term, source, pile, data)
    VALUES (?,?,?,?,?,?,?,?)"""
DROP = """DELETE FROM postings
    WHERE project=? AND store=? AND part=? AND slot=? AND term=? AND source=? AND pile=?"""
DROP_SLOT = "DELETE FROM postings WHERE project=? AND store=? AND part=? AND slot=?"
FIND = """SELECT source, data FROM postings
    WHERE project=? AND store=? AND part=? AND slot=? AND term=? LIMIT 5000"""

CELL = 12
"""Bytes of a chunk in a row."""

FIRST = 500
"""Chunks that are sorted at once."""

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

Terms = Mapping[int, Sequence[str]]
"""The terms of chunks by their numbers."""

Found = tuple[str, int, float]
"""(source, number, score) of a chunk."""


def slot(term: str) -> int:
    """Return the partition of a term within each part."""
    return zlib.crc32(term.encode()) % SLOTS


def posting_rows(terms: Terms) -> dict[str, bytes]:
    """Return rows by term: (number, frequency, length) of each chunk with it, as 32-bit integers."""
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for number, words in terms.items():
        for term, frequency in Counter(word[:LONGEST] for word in words).items():
            rows[term] += (number, frequency, len(words))
    return {term: np.array(row, dtype="<u4").tobytes() for term, row in rows.items()}


@dataclass(frozen=True, slots=True)
class Matches:
    """The chunks with one term: for each the index of its source, and its cells."""

    owners: Integers
    cells: Integers
    count: int
    common: bool


class Postings:
    """Writes, deletes and searches the words of chunks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(
        self, meta: VectorStoreMeta, part: int, source: str, batch: str, rows: Mapping[str, bytes]
    ) -> None:
        """Insert the rows of a batch."""
        statements: defaultdict[int, list[Statement]] = defaultdict(list)
        for term, data in rows.items():
            number = slot(term)
            row = (meta.project, meta.store, part, number, term, source, batch, data)
            statements[number].append((PUT, row))
        await self._run(statements.values())

    async def drop(
        self, meta: VectorStoreMeta, part: int, source: str, batch: str, terms: Iterable[str]
    ) -> None:
        """Delete the rows of a batch."""
        statements: defaultdict[int, list[Statement]] = defaultdict(list)
        for term in terms:
            number = slot(term)
            row = (meta.project, meta.store, part, number, term, source, batch)
            statements[number].append((DROP, row))
        await self._run(statements.values())

    async def delete(self, meta: VectorStoreMeta) -> None:
        """Delete all rows of a vector store."""
        for part in range(meta.part + 1):
            row = (meta.project, meta.store, part)
            await asyncio.gather(
                *(self._connection.run(DROP_SLOT, (*row, number)) for number in range(SLOTS))
            )

    async def _run(self, batches: Iterable[list[Statement]]) -> None:
        limit = asyncio.Semaphore(AT_ONCE)

        async def run(statements: list[Statement]) -> None:
            async with limit:
                await self._connection.run_batch(statements)

        await asyncio.gather(*(run(part) for batch in batches for part in batched(batch)))

    async def search(
        self, meta: VectorStoreMeta, terms: Sequence[str], allowed: frozenset[str] | None
    ) -> Iterator[Found]:
        """Yield the chunks with any of the terms, from the allowed sources, best first."""
        limit = asyncio.Semaphore(AT_ONCE)

        async def find(term: str, part: int) -> list[tuple[str, bytes]]:
            async with limit:
                key = (meta.project, meta.store, part, slot(term), term)
                return [(row[0], row[1]) for row in await self._connection.run(FIND, key)]

        terms = [term[:LONGEST] for term in terms[:TERMS]]
        parts = range(meta.part + 1)
        found = await asyncio.gather(*(find(term, part) for term in terms for part in parts))
        by_term = [found[at * len(parts) : (at + 1) * len(parts)] for at in range(len(terms))]
        if sum(len(rows) for rows in found) < 200:
            return in_order(*rank(meta, by_term, allowed))
        return in_order(*await asyncio.to_thread(rank, meta, by_term, allowed))


def batched(statements: Iterable[Statement]) -> Iterator[list[Statement]]:
    """Yield statements in groups of about BYTES."""
    part: list[Statement] = []
    size = 0
    for statement in statements:
        part.append(statement)
        size += sum(len(value) for value in statement[1] if isinstance(value, str | bytes))
        if size >= BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def rank(
    meta: VectorStoreMeta,
    by_term: Sequence[Sequence[Sequence[tuple[str, bytes]]]],
    allowed: frozenset[str] | None,
) -> tuple[list[str], Integers, Floats]:
    """Return the sources, and for each chunk its key (source's index << 32 | number) and its BM25.

    Terms that are too common are left out, unless all are.
    """
    places: dict[str, int] = {}
    matches = [collect(parts, places, allowed) for parts in by_term]
    keys, weights = [np.empty(0, np.int64)], [np.empty(0)]
    average = max(meta.words / max(meta.chunks, 1), 1.0)
    for match in rarest(matches):
        total = max(meta.chunks, match.count)
        idf = math.log(1 + (total - match.count + 0.5) / (match.count + 0.5))
        number, frequency, length = match.cells.T
        norm = frequency + K1 * (1 - B + B * length / average)
        keys.append(match.owners << 32 | number)
        weights.append(idf * frequency * (K1 + 1) / norm)
    unique, where = np.unique(np.concatenate(keys), return_inverse=True)
    scores = np.bincount(where, np.concatenate(weights), len(unique))
    return list(places), unique, scores.astype(np.float64, copy=False)


def collect(
    parts: Sequence[Sequence[tuple[str, bytes]]], places: dict[str, int], allowed: frozenset[str] | None
) -> Matches:
    """Return one term's rows as arrays, from the allowed sources; new sources get an index."""
    rows = [row for part in parts for row in part]
    common = any(len(part) >= COMMON for part in parts)
    count = sum(len(data) for _, data in rows) // CELL
    if allowed is not None:
        rows = [row for row in rows if row[0] in allowed]
    owners = [places.setdefault(source, len(places)) for source, _ in rows]
    cells = np.frombuffer(b"".join(data for _, data in rows), dtype="<u4").reshape(-1, 3)
    sizes = [len(data) // CELL for _, data in rows]
    return Matches(np.repeat(np.array(owners, np.int64), sizes), cells.astype(np.int64), count, common)


def rarest(matches: Iterable[Matches]) -> list[Matches]:
    """Return the rarest terms within WEIGHED occurrences, at least one."""
    ordered = sorted((match for match in matches if len(match.cells)), key=lambda match: match.count)
    chosen: list[Matches] = []
    total = 0
    for match in ordered:
        total += match.count
        if chosen and (match.common or total > WEIGHED):
            break
        chosen.append(match)
    return chosen


def in_order(sources: Sequence[str], keys: Integers, scores: Floats) -> Iterator[Found]:
    """Yield the chunks best first; beyond the first 500 they are sorted only when read."""
    rest = np.ones(len(scores), dtype=bool)
    if len(scores) > FIRST:
        rest = scores < np.partition(scores, -FIRST)[-FIRST]
        yield from _sorted(sources, keys[~rest], scores[~rest])
    yield from _sorted(sources, keys[rest], scores[rest])


def _sorted(sources: Sequence[str], keys: Integers, scores: Floats) -> Iterator[Found]:
    for place in np.lexsort((keys, -scores)):
        key = int(keys[place])
        yield sources[key >> 32], key & 0xFFFFFFFF, float(scores[place])
