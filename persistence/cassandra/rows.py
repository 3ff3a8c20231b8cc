"""The table `objects`: which rows a partition has, and documents and jobs as rows.

A partition is `(project, home, bucket)`. The home of an object is its id; the home of lists without
a parent is `/collection`. In bucket 0 of its home lie, in this order,

    c:collection  id     0         objects of its lists that are kept with it (ids `parent/rest`)
    d:collection  ""     0         the object itself
    h:collection  ""     0         the head of a list under it: its last position, how full it is
    j:kind        ""     0         a job of that id
    k:collection  label  bucket    which later buckets have documents of a label
    l:collection  ""     position  the documents of a list under it, each a copy
    l:collection  label  position  the same documents once more, by label
    m:collection  id     0         where in the list a document is: an id enters a list once
    s:collection  ""     position  where later buckets of a list begin
    z:log         ""     number    the events of its log, by the first one's number

Later buckets of a list have a head, documents and marks of their own; the objects of their ids
`parent/rest` have homes of their own, so that no partition grows without bound. So an object, what
is kept with it, its lists, its log and the lease on it change together, in one lightweight
transaction.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from persistence.errors import DocumentTooLarge
from persistence.store import Document, Insert, Job, Key

LARGEST = 12 << 20
"""Bytes that a document and its copies may have together; Cassandra's limit for a write is 16 MB."""

COPIES = 64 << 10
"""Bytes that the copies of a document in the lists of its labels may have; beyond, they refer to it."""


class Place(NamedTuple):
    """A partition."""

    project: str
    home: str
    bucket: int


class Spot(NamedTuple):
    """A row in a partition."""

    section: str
    label: str = ""
    position: int = 0


class ListKey(NamedTuple):
    """A list: the documents of a collection under one parent."""

    project: str
    collection: str
    parent: str

    @property
    def home(self) -> str:
        """Whose partition the list is in."""
        if self.parent.startswith("/"):
            return f"/{self.parent}"
        return self.parent or f"/{self.collection}"

    @classmethod
    def at(cls, project: str, home: str, collection: str) -> "ListKey":
        """The list of a collection in a home."""
        if home == f"/{collection}":
            return cls(project, collection, "")
        return cls(project, collection, home[1:] if home.startswith("//") else home)

    def bucket(self, number: int) -> Place:
        """The partition of one of its buckets."""
        return Place(self.project, self.home, number)

    def key(self, id: str) -> Key:
        """The key of one of its documents."""
        return Key(self.project, self.collection, id)


def home(key: Key) -> Place:
    """The partition of an object."""
    return Place(key.project, key.id, 0)


def own(collection: str) -> Spot:
    """The row of an object in its home."""
    return Spot(f"d:{collection}")


def holder(id: str) -> str:
    """The id of the object that a document of that id may be kept with, or nothing."""
    first, slash, rest = id.partition("/")
    return first if slash and rest else ""


def beside(key: Key) -> tuple[Place, Spot]:
    """The row of an object that is kept with its holder."""
    return Place(key.project, holder(key.id), 0), Spot(f"c:{key.collection}", key.id)


def seat(key: Key, parent: str, shelf: int) -> tuple[Place, Spot]:
    """The own row of an object of a list, by the list's parent and the bucket that it is in."""
    if shelf == 0 and parent and holder(key.id) == parent:
        return beside(key)
    return home(key), own(key.collection)


def seat_of(document: Document) -> tuple[Place, Spot]:
    """The own row of a document."""
    return seat(document.key, document.parent, document.shelf)


def head(collection: str) -> Spot:
    """The row of a list's head."""
    return Spot(f"h:{collection}")


def job_spot(kind: str) -> Spot:
    """The row of a job."""
    return Spot(f"j:{kind}")


def mark(collection: str, id: str) -> Spot:
    """The row that tells where a document is in its list."""
    return Spot(f"m:{collection}", id)


AT = "project=? AND home=? AND bucket=? AND section=? AND label=? AND position=?"
KEY = "project, home, bucket, section, label, position"


class Body(NamedTuple):
    """What a document's row and its copies have in common."""

    value: bytes
    state: bytes | None
    labels: frozenset[str] | None


def encode(value: dict[str, Any]) -> bytes:
    """JSON as it is kept; ValueError for what is none."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as exc:
        raise ValueError(f"no JSON: {exc}") from exc


def body(value: dict[str, Any], state: dict[str, Any], labels: frozenset[str]) -> Body:
    """A document's contents as bytes; DocumentTooLarge, or ValueError for what is no JSON."""
    encoded = Body(encode(value), encode(state) if state else None, labels or None)
    size = len(encoded.value) + len(encoded.state or b"")
    if size * 2 > LARGEST:
        raise DocumentTooLarge(f"an object of {size} bytes is more than the store can hold")
    for label in labels:
        label.encode()  # UnicodeEncodeError is a ValueError
    return encoded


def of_document(document: Document) -> Body:
    """The contents of a document."""
    return body(document.value, document.state, document.labels)


@dataclass(frozen=True, slots=True)
class Kept(Insert):
    """An Insert of a document that has changed before, in another store."""

    version: int = 1


def inserted(operation: Insert, position: int, shelf: int) -> Document:
    """The document that an Insert makes."""
    return Document(
        operation.key,
        operation.value,
        operation.state,
        operation.parent,
        operation.labels,
        position,
        operation.version if isinstance(operation, Kept) else 1,
        shelf,
    )


def decode(
    key: Key,
    parent: str,
    row: tuple[bytes, bytes | None, Any, int, int, int],
) -> Document:
    """A document from (value, state, labels, version, position, shelf)."""
    value, state, labels, version, position, shelf = row
    return Document(
        key,
        orjson.loads(value),
        orjson.loads(state) if state else {},
        parent,
        frozenset(labels or ()),
        position,
        version,
        shelf,
    )


def decode_job(project: str, kind: str, id: str, row: tuple[float, int, str, bytes]) -> Job:
    """A job from (due, token, owner, payload)."""
    due, token, owner, payload = row
    return Job(project, kind, id, due, token, owner, orjson.loads(payload))


def storable(*names: str) -> bool:
    """Whether the names can be in the database at all: text with lone surrogates cannot."""
    try:
        return all(len(name.encode()) < 60_000 for name in names)
    except UnicodeEncodeError:
        return False
