"""The store on Apache Cassandra 5 or Astra DB, for any number of replicas of the server."""

import time
from collections.abc import Callable

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
from persistence.cassandra.url import Target
from persistence.cassandra.writing import Writer


class CassandraStore:
    """The Store on a keyspace; rows.py says how objects are stored, schema.py has the tables.

    Clocks of replicas may differ by seconds: `clock` is this one's, in seconds since the epoch. By default
    the store makes its own `connection`.
    """

    atomic_writes = False

    def __init__(
        self,
        target: Target,
        clock: Callable[[], float] = time.time,
        connection: Connection | None = None,
    ) -> None:
        self.target = target
        self.connection = connection = connection or Connection(target)
        committer = Committer(connection, merge)
        heads = ListHeads(connection)
        repair = Repair(connection, committer, heads, clock)
        job_queue = JobQueue(connection, committer, clock)
        logs = Logs(connection)
        contents = Contents(connection, clock)
        reader = Reader(connection, heads, repair)
        writer = Writer(committer, heads, job_queue, repair)
        chunks = Chunks(connection)
        mover = Mover(connection, reader, writer, logs, chunks)
        self.get = reader.get
        self.page = reader.page
        self.write = writer.write
        self.take_jobs = job_queue.take_jobs
        self.renew_job = job_queue.renew_job
        self.read_log = logs.read_log
        self.write_content = contents.write_content
        self.read_content = contents.read_content
        self.delete_content = contents.delete_content
        self.sweep = contents.sweep
        self.put_chunks = chunks.put_chunks
        self.set_attributes = chunks.set_attributes
        self.delete_chunks = chunks.delete_chunks
        self.read_chunks = chunks.read_chunks
        self.search_text = chunks.search_text
        self.search_vectors = chunks.search_vectors
        self.export = mover.export
        self.load = mover.load

    async def open(self) -> None:
        """Connect, waiting for a cluster that is not there yet; StoreUnavailable names it in the end."""
        await self.connection.open(self.target.keyspace)
        await schema.retry_while_unavailable(lambda: schema.check(self.connection), self.target.wait)

    async def close(self) -> None:
        """Close every connection."""
        await self.connection.close()

    async def migrate(self) -> bool:
        """Create keyspace and tables, or migrate them, on a connection of its own; return if they are new."""
        connection = Connection(self.target)
        await connection.open()
        try:
            return await schema.migrate(connection)
        finally:
            await connection.close()

    async def ping(self) -> None:
        """Read a row that always exists, at quorum."""
        await schema.version(self.connection)
