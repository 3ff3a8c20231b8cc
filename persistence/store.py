"""The one interface between Astrolabe and a database.

A store joins five parts, each a module of this package: documents, jobs, event logs, contents and
chunks. It knows no HTTP, no model and no schema of the API. Two engines implement it, `sqlite` and
`cassandra`; `tests/contract` is what both must pass. Import the records of the parts from here.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from persistence.chunks import Attributes, Chunk, ChunkStore, Comparison, Compound, FileChunks, Filter, Hit
from persistence.contents import Content, ContentStore
from persistence.documents import (
    Check,
    Clear,
    Delete,
    Document,
    DocumentStore,
    Insert,
    Key,
    Order,
    Page,
    Replace,
    child_id,
)
from persistence.event_log import LOG_LIFETIME, Append, EventLog
from persistence.jobs import Cancel, Enqueue, Finish, Hold, Job, JobQueue, Reschedule

__all__ = ["LOG_LIFETIME", "Append", "Attributes", "Cancel", "Check", "Chunk", "Clear"]
__all__ += ["Comparison", "Compound", "Content", "Delete", "Document", "Enqueue", "FileChunks"]
__all__ += ["Filter", "Finish", "Hit", "Hold", "Insert", "Job", "Key", "Loadable", "Operation"]
__all__ += ["Order", "Page", "Record", "Replace", "Reschedule", "Store", "child_id"]

Operation = Insert | Replace | Delete | Clear | Check | Enqueue | Hold | Finish | Reschedule | Cancel | Append
Loadable = Document | Job | Append | FileChunks
Record = Loadable | Content


class Store(DocumentStore, JobQueue, EventLog, ContentStore, ChunkStore, Protocol):
    """A database that stores everything Astrolabe knows.

    Every method is safe to call from many tasks of one event loop, and any number of processes may
    use one database. Any method may raise StoreUnavailable.
    """

    atomic_writes: bool
    """Whether a crash never leaves a write half applied.

    Cassandra has no transactions over several partitions: there, a worker that takes over a run looks for
    what a crash left undone.
    """

    async def open(self) -> None:
        """Connect; called in each worker, after the fork, before the first request."""

    async def close(self) -> None:
        """Close every connection and thread."""

    async def migrate(self) -> bool:
        """Create the schema, or migrate an older one, and return whether the store is new.

        StoreRefused for a schema that is newer than this code.
        """

    async def ping(self) -> None:
        """Return if the database answers; StoreUnavailable otherwise."""

    async def write(self, *operations: Operation) -> list[Document]:
        """Do all of the operations or none; the documents of its Inserts and Replaces, in order.

        Durable when it returns. ValueError for what is no JSON (text with lone surrogates, integers
        over 64 bits). The conditions (of Insert, Replace, Delete, Check, Hold, Finish,
        Reschedule) are checked in the order given and the first that fails is raised. An engine
        without transactions over partitions (Cassandra) does the conditional operations first, in
        that order, then the rest; a crash between two of them can leave the rest undone. So a
        caller puts first what tells the next one how to take up the work, and gives objects ids
        that are the same when it is done again.
        """

    async def sweep(self) -> None:
        """Drop what is over, to be called now and then: logs that lived, and what dead writers left."""

    def export(self, after: str = "") -> AsyncIterator[tuple[str, Record]]:
        """Everything in the store, each record with the mark that a later export can go on after.

        Documents of a list come in their order, chunks in batches, jobs as nobody's. What is
        written meanwhile may be missing.
        """

    async def load(self, records: Sequence[Loadable]) -> None:
        """Keep records of another store's export as they are: id, position, version, labels.

        A record that is there already is replaced, so loading twice is no error. A position that
        another document of the list has becomes the next free one. `Content` is copied with
        `write_content(content.project, content.id, source.read_content(...))`.
        """
