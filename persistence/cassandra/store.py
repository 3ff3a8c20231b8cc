"""The cluster store: any number of replicas of the server on Apache Cassandra 5, or Astra DB."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence

from persistence.cassandra import schema
from persistence.cassandra.commits import Committer
from persistence.cassandra.contents import Contents
from persistence.cassandra.driver import Connection
from persistence.cassandra.entries import merge
from persistence.cassandra.jobs import JobQueue
from persistence.cassandra.list_heads import ListHeads
from persistence.cassandra.logs import Logs
from persistence.cassandra.moving import Mover
from persistence.cassandra.reading import Reader
from persistence.cassandra.repair import Repair
from persistence.cassandra.retrieval import Chunks
from persistence.cassandra.rows import ListKey
from persistence.cassandra.url import Target
from persistence.cassandra.writing import Writer
from persistence.store import (
    Attributes,
    Chunk,
    Document,
    Filter,
    Hit,
    Job,
    Key,
    Loadable,
    Operation,
    Order,
    Page,
    Record,
    Store,
)


class CassandraStore(Store):
    """The Store on a keyspace; see rows.py for how objects lie in it, schema.py for the tables.

    Clocks of replicas may differ by seconds: `clock` is this one's, in seconds since the epoch.
    """

    def __init__(self, target: Target, clock: Callable[[], float] = time.time) -> None:
        self.target = target
        self.connection = connection = Connection(target)
        committer = Committer(connection, merge)
        heads = ListHeads(connection)
        repair = Repair(connection, committer, heads, clock)
        self._job_queue = JobQueue(connection, committer, clock)
        self._logs = Logs(connection)
        self._contents = Contents(connection, clock)
        self._reader = Reader(connection, heads, repair)
        self._writer = Writer(committer, heads, self._job_queue, repair)
        self._chunks = Chunks(connection)
        self._mover = Mover(connection, self._reader, self._writer, self._logs, self._chunks)

    # --- life ---

    async def open(self) -> None:
        """Connect, waiting for a cluster that is not there yet; StoreUnavailable names it in the end."""
        await self.connection.open(self.target.keyspace)
        await schema.retry_while_unavailable(lambda: schema.check(self.connection), self.target.wait)

    async def close(self) -> None:
        """Close every connection."""
        await self.connection.close()

    async def migrate(self) -> None:
        """Make keyspace and tables, or bring them up to date, on a connection of its own."""
        connection = Connection(self.target)
        await connection.open()
        try:
            await schema.migrate(connection)
        finally:
            await connection.close()

    async def ping(self) -> None:
        """One read at quorum of a row that is always there."""
        await schema.version(self.connection)

    # --- documents ---

    async def get(self, key: Key) -> Document | None:
        """One statement."""
        return await self._reader.get(key)

    async def page(
        self,
        project: str,
        collection: str,
        parent: str = "",
        *,
        label: str | None = None,
        after: str | None = None,
        before: str | None = None,
        limit: int = 20,
        order: Order = "desc",
    ) -> Page:
        """One statement for a list of one bucket, one more for a cursor and for each bucket's edge."""
        return await self._reader.page(
            ListKey(project, collection, parent), label, after, before, limit, order
        )

    async def write(self, *operations: Operation) -> list[Document]:
        """See writing.py for how operations become transactions."""
        return await self._writer.write(operations)

    # --- jobs ---

    async def take_jobs(
        self, kind: str, owner: str, lease: float, limit: int, skipped: Collection[str] = ()
    ) -> Sequence[Job]:
        """One or two statements when nothing is due, and four for each job that is taken."""
        return await self._job_queue.take(kind, owner, lease, limit, skipped)

    async def renew_job(self, job: Job, lease: float) -> Job:
        """One transaction."""
        return await self._job_queue.renew(job, lease)

    # --- logs ---

    async def read_log(
        self, project: str, id: str, after: int = -1, limit: int = 1000
    ) -> Sequence[tuple[int, bytes]]:
        """One statement for who follows a log, two for who enters in its midst."""
        return await self._logs.read(project, id, after, limit)

    async def sweep(self) -> None:
        """The pieces of contents that dead writers left; logs are written with the time that they live."""
        await self._contents.sweep()

    # --- contents ---

    async def write_content(self, project: str, id: str, pieces: AsyncIterator[bytes]) -> int:
        """A statement for each 512 kB, one before the first and two more in the end."""
        return await self._contents.write(project, id, pieces)

    async def read_content(
        self, project: str, id: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """A statement, and one for each 512 kB."""
        async for piece in self._contents.read(project, id, start, end):
            yield piece

    async def delete_content(self, project: str, id: str) -> None:
        """Two statements, and one for each 32 MB."""
        await self._contents.delete(project, id)

    # --- chunks ---

    async def put_chunks(
        self, project: str, vector_store: str, file: str, chunks: Sequence[Chunk], attributes: Attributes
    ) -> None:
        """See retrieval.py."""
        await self._chunks.put(project, vector_store, file, chunks, attributes)

    async def set_attributes(
        self, project: str, vector_store: str, file: str, attributes: Attributes
    ) -> None:
        """One statement."""
        await self._chunks.set_attributes(project, vector_store, file, attributes)

    async def delete_chunks(self, project: str, vector_store: str, file: str | None = None) -> None:
        """See retrieval.py."""
        await self._chunks.delete(project, vector_store, file)

    async def read_chunks(
        self, project: str, vector_store: str, file: str, after: int = -1, limit: int = 100
    ) -> Sequence[Chunk]:
        """Two statements."""
        return await self._chunks.read(project, vector_store, file, after, limit)

    async def search_text(
        self, project: str, vector_store: str, query: str, limit: int, filter: Filter | None = None
    ) -> Sequence[Hit]:
        """See postings.py."""
        return await self._chunks.search_text(project, vector_store, query, limit, filter)

    async def search_vectors(
        self,
        project: str,
        vector_store: str,
        vector: Sequence[float],
        limit: int,
        filter: Filter | None = None,
    ) -> Sequence[Hit]:
        """See vectors.py."""
        return await self._chunks.search_vectors(project, vector_store, vector, limit, filter)

    # --- moving ---

    async def export(self, after: str = "") -> AsyncIterator[tuple[str, Record]]:
        """A scan of every table, partition by partition."""
        async for item in self._mover.export(after):
            yield item

    async def load(self, records: Sequence[Loadable]) -> None:
        """Each record as it is."""
        await self._mover.load(records)
