"""Search by vectors: a table for each dimension, with a nearest-neighbour index (SAI) in each shard.

Indexed vectors have length one, so that the dot product is the cosine, which halves the cost of the index. A
vector of another length is also stored as given.
"""

import asyncio
import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from persistence.cassandra import schema
from persistence.cassandra.driver import Connection, Row, Statement
from persistence.cassandra.vector_store_meta import Source, VectorStoreMeta

MOST = 1000
"""Neighbours that the index gives at most."""

LEAST = 32
"""Neighbours that a shard is asked for at least: the index searches worse where it looks for few."""

EXACT = 5000
"""Chunks of the files that a filter lets through up to which all of them are compared."""

MARGIN = 2
"""How many times more neighbours are asked for than the filter's share of chunks makes needed."""

TOLERANCE = 1e-5
"""How far from 1 the square of a length may be that counts as one."""

LEAST_ROW = 1000
"""Bytes that a vector counts for at least, so that a shard has few enough rows."""

OVERHEAD = 48
"""Bytes of a row besides its source's name and its vector."""

ROWS = 16
"""Vectors in one statement."""

AT_ONCE = 4
"""Statements of vectors at the same time: the index takes some milliseconds for each vector."""

PUT = "INSERT INTO vectors_{0} (project, store, shard, source, number, vector) VALUES (?,?,?,?,?,?)"
PUT_BOTH = """INSERT INTO vectors_{0} (project, store, shard, source, number, vector, given)
    VALUES (?,?,?,?,?,?,?)"""
DROP = "DELETE FROM vectors_{0} WHERE project=? AND store=? AND shard=? AND source=? AND number=?"
DROP_SOURCE = "DELETE FROM vectors_{0} WHERE project=? AND store=? AND shard=? AND source=?"
DROP_SHARD = "DELETE FROM vectors_{0} WHERE project=? AND store=? AND shard=?"
NEAREST = """SELECT source, number, similarity_dot_product(vector, ?) FROM vectors_{0}
    WHERE project=? AND store=? AND shard=? ORDER BY vector ANN OF ? LIMIT ?"""
COMPARED = """SELECT source, number, similarity_dot_product(vector, ?) FROM vectors_{0}
    WHERE project=? AND store=? AND shard=? AND source=?"""
READ = """SELECT vector, given FROM vectors_{0}
    WHERE project=? AND store=? AND shard=? AND source=? AND number=?"""

Found = tuple[str, int, float]
"""(source, number, cosine) of a chunk."""


class StoredVector(NamedTuple):
    """A chunk's vector of length one, and as given if it had another length; both packed."""

    number: int
    vector: bytes
    given: bytes = b""

    def size(self, source: str) -> int:
        """Return its bytes in its shard."""
        return max(len(self.vector) + len(self.given) + len(source.encode()) + OVERHEAD, LEAST_ROW)


class Vectors:
    """Writes, deletes and searches the vectors of chunks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._made: set[int] = set()

    async def prepare(self, dimension: int) -> None:
        """Create the table of a dimension unless this process knows that it exists."""
        if dimension not in self._made:
            await schema.create_vector_table(self._connection, dimension)
            self._made.add(dimension)

    async def put(
        self,
        meta: VectorStoreMeta,
        shard: int,
        source: str,
        vectors: Sequence[StoredVector],
        replaced: Collection[int] = (),
    ) -> None:
        """Insert vectors of a source; `replaced` are the numbers that existed before."""
        key = (meta.project, meta.store, shard, source)
        one, both = PUT.format(meta.dimension), PUT_BOTH.format(meta.dimension)
        limit = asyncio.Semaphore(AT_ONCE)

        def row(vector: StoredVector) -> Statement:
            if vector.given or vector.number in replaced:
                return both, (*key, *vector)
            return one, (*key, vector.number, vector.vector)

        async def put(part: Sequence[StoredVector]) -> None:
            async with limit:
                await self._connection.run_batch([row(vector) for vector in part])

        await asyncio.gather(*(put(vectors[at : at + ROWS]) for at in range(0, len(vectors), ROWS)))

    async def drop(self, meta: VectorStoreMeta, source: str, places: Sequence[tuple[int, int]]) -> None:
        """Delete vectors of a source by (shard, number)."""
        query = DROP.format(meta.dimension)
        for shard, number in places:
            await self._connection.run(query, (meta.project, meta.store, shard, source, number))

    async def drop_source(self, meta: VectorStoreMeta, source: Source) -> None:
        """Delete all vectors of a source."""
        if meta.dimension is None:
            return
        query = DROP_SOURCE.format(meta.dimension)
        for shard in {batch.shard for batch in source.batches.values()}:
            await self._connection.run(query, (meta.project, meta.store, shard, source.name))

    async def delete(self, meta: VectorStoreMeta) -> None:
        """Delete all vectors of a vector store."""
        if meta.dimension is not None:
            query = DROP_SHARD.format(meta.dimension)
            for shard in range(meta.shard + 1):
                await self._connection.run(query, (meta.project, meta.store, shard))

    async def read(self, meta: VectorStoreMeta, source: str, shard: int, number: int) -> list[float] | None:
        """Return one vector."""
        if meta.dimension is None:
            return None
        key = (meta.project, meta.store, shard, source, number)
        rows = await self._connection.run(READ.format(meta.dimension), key)
        if not rows:
            return None
        vector, given = rows[0]
        return unpack(given) if given else list(vector)

    # --- search ---

    async def search(
        self, meta: VectorStoreMeta, vector: Sequence[float], limit: int, allowed: Sequence[Source] | None
    ) -> list[Found]:
        """Return the nearest chunks of the allowed sources, best first; fewer than `limit` if that is all.

        Few allowed chunks are all compared. Otherwise the index is asked for more neighbours by the filter's
        share, and if these are too few, all allowed chunks are compared.
        """
        if allowed is None:
            return await self._nearest(meta, vector, min(max(limit, LEAST), MOST))
        chunks = sum(source.chunks for source in allowed)
        if chunks <= EXACT:
            return await self._compared(meta, vector, allowed)
        names = {source.name for source in allowed}
        wanted = min(MARGIN * limit * max(meta.chunks, chunks) // chunks + limit, MOST)
        found = [hit for hit in await self._nearest(meta, vector, wanted) if hit[0] in names]
        if len(found) >= min(limit, chunks):
            return found
        return await self._compared(meta, vector, allowed)

    async def _nearest(self, meta: VectorStoreMeta, vector: Sequence[float], limit: int) -> list[Found]:
        """Return the best `limit` of all shards, and maybe more.

        Every row costs a read, so each shard is asked for its share and some more; a shard whose rows are
        all among the best is asked again, for `limit`.
        """
        query, sought = NEAREST.format(meta.dimension), unit_vector(vector)

        async def ask(shard: int, count: int) -> list[Found]:
            key = (meta.project, meta.store, shard)
            return ranked(await self._connection.run(query, (sought, *key, sought, count)))

        shards = range(meta.shard + 1)
        share = min(limit, max(2 * limit // len(shards), LEAST))
        found = await asyncio.gather(*(ask(shard, share) for shard in shards))
        if share < limit:
            scores = sorted((hit[2] for hits in found for hit in hits), reverse=True)[:limit]
            again = [
                shard for shard, hits in enumerate(found) if len(hits) >= share and hits[-1][2] >= scores[-1]
            ]
            more = await asyncio.gather(*(ask(shard, limit) for shard in again))
            found = [hits for shard, hits in enumerate(found) if shard not in again] + more
        return best_first([hit for hits in found for hit in hits])

    async def _compared(
        self, meta: VectorStoreMeta, vector: Sequence[float], sources: Sequence[Source]
    ) -> list[Found]:
        query = COMPARED.format(meta.dimension)
        sought = unit_vector(vector)
        limit = asyncio.Semaphore(AT_ONCE * 4)

        async def compare(source: str, shard: int) -> list[Row]:
            key = (sought, meta.project, meta.store, shard, source)
            async with limit:
                scan = await self._connection.scan(query, key, 5000)
                return [row async for rows in scan for row in rows]

        places = {(source.name, batch.shard) for source in sources for batch in source.batches.values()}
        found = await asyncio.gather(*(compare(*place) for place in places))
        return ranked([row for rows in found for row in rows])


def ranked(rows: Sequence[Row]) -> list[Found]:
    """Return hits best first; Cassandra's similarity is 0 to 1, a cosine -1 to 1."""
    return best_first(
        [(source, number, 2 * score - 1) for source, number, score in rows if score is not None]
    )


def best_first(found: Sequence[Found]) -> list[Found]:
    """Sort hits best first."""
    return sorted(found, key=lambda hit: (-hit[2], hit[0], hit[1]))


def stored_vectors(vectors: Sequence[tuple[int, Sequence[float]]]) -> list[StoredVector]:
    """Return vectors by number as they are stored; zero and infinite vectors are left out."""
    if not vectors:
        return []
    given = np.array([vector for _, vector in vectors], dtype=np.float64)
    squares = np.einsum("ij,ij->i", given, given)
    right = np.abs(squares - 1) <= TOLERANCE
    return [
        StoredVector(number, pack(vector))
        if fits
        else StoredVector(number, pack(vector / math.sqrt(square)), pack(vector))
        for (number, _), vector, square, fits in zip(vectors, given, squares, right, strict=True)
        if 0 < square < math.inf
    ]


def unit_vector(vector: Sequence[float]) -> bytes:
    """Return a vector scaled to length one, packed."""
    array = np.asarray(vector, dtype=np.float64)
    return pack(array / math.sqrt(array @ array))


def pack(vector: npt.NDArray[Any]) -> bytes:
    """Pack 32-bit numbers as Cassandra stores them; the driver would take 20 times longer."""
    return vector.astype(">f4").tobytes()


def unpack(vector: bytes) -> list[float]:
    """Return the numbers of a packed vector."""
    return [float(number) for number in np.frombuffer(vector, dtype=">f4")]
