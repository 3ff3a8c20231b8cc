"""The one interface between Astrolabe and a database.

A store keeps documents (the objects of the API), jobs (work that some worker holds a lease on),
logs (the events of a stream), contents (the bytes of files) and chunks (what retrieval searches).
It knows no HTTP, no model and no schema of the API. Two engines implement it, `sqlite` and
`cassandra`; `tests/contract` is what both must pass.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from persistence.types import JSON

Order = Literal["asc", "desc"]


def child_id(parent: str, id: str) -> str:
    """The id of a document that is kept with its parent."""
    return f"{parent}/{id}"


LOG_LIFETIME = 86_400.0
"""Seconds that a log is kept where nothing else is said."""


def fresh_token() -> int:
    """A token that no earlier holder of a job has: the time in microseconds."""
    return time.time_ns() // 1000


class Key(NamedTuple):
    """Where a document is: nothing of one project is ever found from another.

    An id of the form `parent/rest`, of a document in a list of that parent, says that it is only
    asked for by way of its parent: an engine of many machines keeps the two together, so that both
    change in one step.
    """

    project: str
    collection: str
    id: str


@dataclass(frozen=True, slots=True)
class Document:
    """One stored object.

    `value` is the object as the API returns it; `state` is what Astrolabe keeps beside it and
    never shows. `parent` is the id of the object that it belongs to ("" for none): documents of
    one collection under one parent form a list, ordered by `position` (microseconds since the
    epoch, made unique and growing within the list by the store). `labels` put it into further
    lists under the same parent, such as "purpose:assistants". `version` grows with each change.
    """

    key: Key
    value: JSON
    state: JSON = field(default_factory=dict)
    parent: str = ""
    labels: frozenset[str] = frozenset()
    position: int = 0
    version: int = 1

    @property
    def id(self) -> str:
        """The object's id."""
        return self.key.id


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, in the order that was asked for."""

    documents: list[Document]
    has_more: bool


@dataclass(frozen=True, slots=True)
class Job:
    """Work that is due at a time, and the lease of whoever does it.

    A job is free once `due` (seconds since the epoch) has passed. Taking it moves `due` on by the
    lease's length and makes a new `token`, greater than every one before; renewing moves `due` on
    again. A writer proves that it still holds the lease by naming its token and owner (`Hold`), so
    a worker that was paused for longer than its lease can write nothing. A lease that ran out and
    that nobody took since still holds. A job without an owner is held by nobody.

    `takeovers` counts how often the job was taken from another owner whose lease had run out, so that a
    job that kills its workers can be given up. A job that its holder let go of (Reschedule) does not
    count when it is taken again.
    """

    project: str
    kind: str
    id: str
    due: float
    token: int = field(default_factory=fresh_token)
    owner: str = ""
    payload: JSON = field(default_factory=dict)
    takeovers: int = 0


# --- operations of a write -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Insert:
    """Add a document; AlreadyExists if its id is taken in its project and collection.

    Without a `position` it becomes the last of its list. With one (an import), it takes that
    place, or the next free one after it.
    """

    key: Key
    value: JSON
    state: JSON = field(default_factory=dict)
    parent: str = ""
    labels: frozenset[str] = frozenset()
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Replace:
    """Change `document` as it was read; VersionConflict if somebody changed it since."""

    document: Document
    value: JSON | None = None
    state: JSON | None = None
    labels: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove `document` as it was read; VersionConflict if somebody changed it since."""

    document: Document


@dataclass(frozen=True, slots=True)
class Clear:
    """Remove every document of a list (all messages of a thread); none is no error."""

    project: str
    collection: str
    parent: str


@dataclass(frozen=True, slots=True)
class Check:
    """Write only if `document` is still as it was read; VersionConflict otherwise."""

    document: Document


@dataclass(frozen=True, slots=True)
class Enqueue:
    """Add a job, or replace the one of the same project, kind and id, whose holder loses it.

    With an `owner` the job is held at once, by the job's own token, until `due`.
    """

    job: Job


@dataclass(frozen=True, slots=True)
class Hold:
    """Write only if `job` is still held by its token; LeaseLost otherwise."""

    job: Job


@dataclass(frozen=True, slots=True)
class Finish:
    """Remove `job`; LeaseLost if another token holds it by now."""

    job: Job


@dataclass(frozen=True, slots=True)
class Reschedule:
    """Let go of `job` and make it free at `due`; LeaseLost if another token holds it by now."""

    job: Job
    due: float
    payload: JSON | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Remove a job whoever holds it, so that its holder loses the lease; none is no error."""

    project: str
    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Append:
    """Add one segment, whose first event has the number `sequence`, to the log of `id`.

    A segment holds consecutive events. Writing the same sequence twice keeps the first. `lifetime`
    is for how many seconds the log is kept after it, at least.
    """

    project: str
    id: str
    sequence: int
    events: Sequence[bytes]
    lifetime: float = LOG_LIFETIME


Operation = Insert | Replace | Delete | Clear | Check | Enqueue | Hold | Finish | Reschedule | Cancel | Append


# --- retrieval -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a file's text: its place in the file, and its vector where one was made."""

    index: int
    text: str
    vector: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found; a higher score is better (BM25, or cosine similarity)."""

    file_id: str
    index: int
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """An attribute filter; `operator` is eq, ne, gt, gte, lt, lte, in or nin.

    A file without the attribute matches ne and nin, and nothing else. Types are compared as they
    are: "1" is not 1.
    """

    operator: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    attribute: str
    value: str | float | bool | Sequence[str | float]


@dataclass(frozen=True, slots=True)
class Compound:
    """Filters joined by and, or."""

    operator: Literal["and", "or"]
    filters: Sequence["Comparison | Compound"]


Filter = Comparison | Compound
Attributes = Mapping[str, str | float | bool]


# --- moving a whole store --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Content:
    """That there are bytes of a file, to be read with `read_content`."""

    project: str
    id: str
    size: int


@dataclass(frozen=True, slots=True)
class FileChunks:
    """Some chunks of a file, with their vectors, and the attributes of the file."""

    project: str
    vector_store: str
    file: str
    chunks: Sequence[Chunk]
    attributes: Attributes


Loadable = Document | Job | Append | FileChunks
Record = Loadable | Content


class Store(ABC):
    """A database that keeps everything Astrolabe knows.

    Every method is safe to call from many tasks of one event loop, and any number of processes may
    use one database. Any method may raise StoreUnavailable.
    """

    atomic_writes = False
    """Whether a write is seen as a whole or not at all, and none is ever left half done."""

    # --- life ---

    @abstractmethod
    async def open(self) -> None:
        """Connect; called in each worker, after the fork, before the first request."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of every connection and thread."""

    @abstractmethod
    async def migrate(self) -> None:
        """Make the schema, or bring an older one up to date; StoreRefused for a newer one."""

    @abstractmethod
    async def ping(self) -> None:
        """Answer if the database answers, or raise StoreUnavailable."""

    # --- documents ---

    @abstractmethod
    async def get(self, key: Key) -> Document | None:
        """The document, or None."""

    @abstractmethod
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
        """A page of a list, by position; `after` and `before` are ids of its documents.

        `after` starts behind that document in the order asked for, `before` ends ahead of it: with
        `before` alone the page is the one that ends just there, and `has_more` tells of documents
        ahead of the page; otherwise of documents behind it (and ahead of `before`).
        CursorNotFound for an id that is not in that parent's list; one that has not the label is.
        An engine may give a document's `state` and `version` as they were before changes that
        touched nothing but the state: `get` has the last word.
        """

    @abstractmethod
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

    # --- jobs ---

    @abstractmethod
    async def take_jobs(
        self, kind: str, owner: str, lease: float, limit: int, skipped: Collection[str] = ()
    ) -> Sequence[Job]:
        """Take at most `limit` jobs of that kind which are free, each held for `lease` seconds.

        Jobs of the projects in `skipped` are left as they are.

        Costs a bounded read when nothing is due, whatever the number of finished jobs.
        """

    @abstractmethod
    async def renew_job(self, job: Job, lease: float) -> Job:
        """Hold on to `job` for `lease` seconds from now; LeaseLost if another token has it."""

    # --- logs ---

    @abstractmethod
    async def read_log(
        self, project: str, id: str, after: int = -1, limit: int = 1000
    ) -> Sequence[tuple[int, bytes]]:
        """(number, event) of the log in order, with numbers over `after`, about `limit` at most."""

    @abstractmethod
    async def sweep(self) -> None:
        """Drop what is over, to be called now and then: logs that lived, and what dead writers left."""

    # --- contents ---

    @abstractmethod
    async def write_content(self, project: str, id: str, pieces: AsyncIterator[bytes]) -> int:
        """Keep the bytes of a file; how many. Durable and readable when it returns, not before."""

    @abstractmethod
    def read_content(
        self, project: str, id: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end` in pieces; ContentNotFound on the first of them."""

    @abstractmethod
    async def delete_content(self, project: str, id: str) -> None:
        """Forget the bytes; none is no error."""

    # --- chunks ---

    @abstractmethod
    async def put_chunks(
        self, project: str, vector_store: str, file: str, chunks: Sequence[Chunk], attributes: Attributes
    ) -> None:
        """Keep chunks of a file; a chunk of the same index is replaced. May be called in batches.

        `attributes` replace those that the file had. DimensionMismatch, and nothing kept, if a
        vector is not of the length of those that the vector store has.
        """

    @abstractmethod
    async def set_attributes(
        self, project: str, vector_store: str, file: str, attributes: Attributes
    ) -> None:
        """Change the attributes that filters see, of all chunks of a file."""

    @abstractmethod
    async def delete_chunks(self, project: str, vector_store: str, file: str | None = None) -> None:
        """Forget the chunks of one file, or of the whole vector store."""

    @abstractmethod
    async def read_chunks(
        self, project: str, vector_store: str, file: str, after: int = -1, limit: int = 100
    ) -> Sequence[Chunk]:
        """The chunks of a file in order of index, without their vectors."""

    @abstractmethod
    async def search_text(
        self, project: str, vector_store: str, query: str, limit: int, filter: Filter | None = None
    ) -> Sequence[Hit]:
        """The best chunks by BM25 over the words of `query`, any of which may match.

        The filter applies before the cut. The query is data: no operator in it has a meaning.
        """

    @abstractmethod
    async def search_vectors(
        self,
        project: str,
        vector_store: str,
        vector: Sequence[float],
        limit: int,
        filter: Filter | None = None,
    ) -> Sequence[Hit]:
        """The nearest chunks by cosine similarity; the filter applies before the cut.

        DimensionMismatch if `vector` is not of the length of those that the vector store has.
        """

    # --- moving ---

    @abstractmethod
    def export(self, after: str = "") -> AsyncIterator[tuple[str, Record]]:
        """Everything in the store, each record with the mark that a later export can go on after.

        Documents of a list come in their order, chunks in batches, jobs as nobody's. What is
        written meanwhile may be missing.
        """

    @abstractmethod
    async def load(self, records: Sequence[Loadable]) -> None:
        """Keep records of another store's export as they are: id, position, version, labels.

        A record that is there already is replaced, so loading twice is no error. A position that
        another document of the list has becomes the next free one. `Content` is copied with
        `write_content(content.project, content.id, source.read_content(...))`.
        """
