"""Search by vectors: a table per dimension, SAI's index of nearest neighbours in each shard."""

import asyncio
from collections.abc import Sequence

from astrolabe_server.persistence.cassandra import schema
from astrolabe_server.persistence.cassandra.driver import Connection, Row, Statement
from astrolabe_server.persistence.cassandra.libraries import Library, Source

MOST = 1000
"""Neighbours that the index gives at most."""

EXACT = 5000
"""Chunks of the files that a filter lets through up to which all of them are compared."""

MARGIN = 2
"""How many times more neighbours are asked for than the filter's share of chunks makes needed."""

ROWS = 16
"""Vectors in one statement."""

AT_ONCE = 4
"""Statements of vectors at the same time: the index takes some milliseconds for each vector."""

PUT = "INSERT INTO vectors_{0} (project, store, shard, source, number, vector) VALUES (?,?,?,?,?,?)"
DROP = "DELETE FROM vectors_{0} WHERE project=? AND store=? AND shard=? AND source=? AND number=?"
DROP_SOURCE = "DELETE FROM vectors_{0} WHERE project=? AND store=? AND shard=? AND source=?"
DROP_SHARD = "DELETE FROM vectors_{0} WHERE project=? AND store=? AND shard=?"
NEAREST = """SELECT source, number, similarity_cosine(vector, ?) FROM vectors_{0}
    WHERE project=? AND store=? AND shard=? ORDER BY vector ANN OF ? LIMIT ?"""
COMPARED = """SELECT source, number, similarity_cosine(vector, ?) FROM vectors_{0}
    WHERE project=? AND store=? AND shard=? AND source=?"""
READ = (
    "SELECT number, vector FROM vectors_{0} WHERE project=? AND store=? AND shard=? AND source=? AND number=?"
)

Found = tuple[str, int, float]
"""(source, number, cosine) of a chunk."""


class Vectors:
    """Writes, removes and searches the vectors of chunks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._made: set[int] = set()

    async def prepare(self, dimension: int) -> None:
        """Make the table of that dimension if this process does not know it to be there."""
        if dimension not in self._made:
            await schema.make_vectors(self._connection, dimension)
            self._made.add(dimension)

    async def put(
        self, library: Library, shard: int, source: str, vectors: Sequence[tuple[int, Sequence[float]]]
    ) -> None:
        """Add vectors of a source by number."""
        query = PUT.format(library.dimension)
        limit = asyncio.Semaphore(AT_ONCE)

        async def put(part: Sequence[tuple[int, Sequence[float]]]) -> None:
            key = (library.project, library.store, shard, source)
            rows: list[Statement] = [(query, (*key, number, vector)) for number, vector in part]
            async with limit:
                await self._connection.run_together(rows)

        await asyncio.gather(*(put(vectors[at : at + ROWS]) for at in range(0, len(vectors), ROWS)))

    async def drop(self, library: Library, source: str, places: Sequence[tuple[int, int]]) -> None:
        """Remove vectors of a source by (shard, number)."""
        query = DROP.format(library.dimension)
        for shard, number in places:
            await self._connection.run(query, (library.project, library.store, shard, source, number))

    async def drop_source(self, library: Library, source: Source) -> None:
        """Remove all vectors of a source."""
        if library.dimension is None:
            return
        query = DROP_SOURCE.format(library.dimension)
        for shard in {batch.shard for batch in source.batches.values()}:
            await self._connection.run(query, (library.project, library.store, shard, source.name))

    async def forget(self, library: Library) -> None:
        """Remove everything of a vector store."""
        if library.dimension is not None:
            query = DROP_SHARD.format(library.dimension)
            for shard in range(library.shard + 1):
                await self._connection.run(query, (library.project, library.store, shard))

    async def read(self, library: Library, source: str, shard: int, number: int) -> list[float] | None:
        """One vector."""
        if library.dimension is None:
            return None
        key = (library.project, library.store, shard, source, number)
        rows = await self._connection.run(READ.format(library.dimension), key)
        return list(rows[0][1]) if rows else None

    # --- search ---

    async def search(
        self, library: Library, vector: Sequence[float], limit: int, allowed: Sequence[Source] | None
    ) -> list[Found]:
        """The nearest chunks, of the sources allowed, best first; some more than `limit`.

        Where a filter lets little through, all of that is compared. Else the index is asked for as
        many more neighbours as the filter's share makes needed, and if it still gave too few, all
        that is let through is compared.
        """
        if allowed is None:
            return await self._nearest(library, vector, min(limit + limit // 4 + 5, MOST))
        chunks = sum(source.chunks for source in allowed)
        if chunks <= EXACT:
            return await self._compared(library, vector, allowed)
        names = {source.name for source in allowed}
        wanted = min(MARGIN * limit * max(library.chunks, chunks) // chunks + limit, MOST)
        found = [hit for hit in await self._nearest(library, vector, wanted) if hit[0] in names]
        if len(found) >= min(limit, chunks):
            return found
        return await self._compared(library, vector, allowed)

    async def _nearest(self, library: Library, vector: Sequence[float], limit: int) -> list[Found]:
        query = NEAREST.format(library.dimension)
        found = await asyncio.gather(
            *(
                self._connection.run(query, (vector, library.project, library.store, shard, vector, limit))
                for shard in range(library.shard + 1)
            )
        )
        return ranked([row for rows in found for row in rows])

    async def _compared(
        self, library: Library, vector: Sequence[float], sources: Sequence[Source]
    ) -> list[Found]:
        query = COMPARED.format(library.dimension)
        limit = asyncio.Semaphore(AT_ONCE * 4)

        async def compare(source: str, shard: int) -> list[Row]:
            key = (vector, library.project, library.store, shard, source)
            async with limit:
                scan = await self._connection.scan(query, key, 5000)
                return [row async for rows in scan for row in rows]

        places = {(source.name, batch.shard) for source in sources for batch in source.batches.values()}
        found = await asyncio.gather(*(compare(*place) for place in places))
        return ranked([row for rows in found for row in rows])


def ranked(rows: Sequence[Row]) -> list[Found]:
    """Best first; Cassandra's similarity is between 0 and 1, the cosine between -1 and 1."""
    found = [(source, number, 2 * score - 1) for source, number, score in rows if score is not None]
    return sorted(found, key=lambda hit: (-hit[2], hit[0], hit[1]))
