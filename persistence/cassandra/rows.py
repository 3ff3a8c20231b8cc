"""The table `objects`: the rows of a partition, and documents and jobs as rows.

The README of this folder lists the sections of a partition. Later buckets of a list have their own head,
entries and markers, and their objects have partitions of their own, so that none grows without bound.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from persistence.documents import MAX_DOCUMENT_BYTES
from persistence.errors import DocumentTooLarge
from persistence.store import Document, Insert, Job, Key

MAX_LABEL_COPY_BYTES = 64 << 10
"""Bytes that the copies of a document in the lists of its labels may have; beyond, they refer to it."""


class Partition(NamedTuple):
    """The key of a partition."""

    project: str
    home: str
    bucket: int


class RowKey(NamedTuple):
    """The clustering key of a row."""

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
        """The home of the partitions that hold the list."""
        if self.parent.startswith("/"):
            return f"/{self.parent}"
        return self.parent or f"/{self.collection}"

    @classmethod
    def at(cls, project: str, home: str, collection: str) -> "ListKey":
        """Return the list of a collection in a home."""
        if home == f"/{collection}":
            return cls(project, collection, "")
        return cls(project, collection, home[1:] if home.startswith("//") else home)

    def bucket(self, number: int) -> Partition:
        """Return the partition of a bucket."""
        return Partition(self.project, self.home, number)

    def key(self, id: str) -> Key:
        """Return the key of a document of the list."""
        return Key(self.project, self.collection, id)


def home_partition(key: Key) -> Partition:
    """Return the partition of an object."""
    return Partition(key.project, key.id, 0)


def object_row_key(collection: str) -> RowKey:
    """Return the row of an object in its home."""
    return RowKey(f"d:{collection}")


@dataclass(frozen=True, slots=True)
class ListedDocument(Document):
    """A document with the bucket of its list that holds its entry, which later writes must find."""

    bucket: int = field(default=0, compare=False, repr=False)


def bucket_of(document: Document) -> int:
    """Return the bucket of a document's entry; 0 for a document of another store."""
    return document.bucket if isinstance(document, ListedDocument) else 0


def parent_id(id: str) -> str:
    """Return the id of the object that a document may be stored with, or ""."""
    first, slash, rest = id.partition("/")
    return first if slash and rest else ""


def key_beside_parent(key: Key) -> tuple[Partition, RowKey]:
    """Return the partition and row of an object that is stored with its parent."""
    return Partition(key.project, parent_id(key.id), 0), RowKey(f"c:{key.collection}", key.id)


def primary_key(key: Key, parent: str, bucket: int) -> tuple[Partition, RowKey]:
    """Return the partition and row of an object, by its list's parent and bucket."""
    if bucket == 0 and parent and parent_id(key.id) == parent:
        return key_beside_parent(key)
    return home_partition(key), object_row_key(key.collection)


def primary_key_of(document: Document) -> tuple[Partition, RowKey]:
    """Return the partition and row of a document."""
    return primary_key(document.key, document.parent, bucket_of(document))


def head_row_key(collection: str) -> RowKey:
    """Return the row of a list's head."""
    return RowKey(f"h:{collection}")


def job_row_key(kind: str) -> RowKey:
    """Return the row of a job."""
    return RowKey(f"j:{kind}")


def marker_row_key(collection: str, id: str) -> RowKey:
    """Return the row of a document's marker, which has its position in the list."""
    return RowKey(f"m:{collection}", id)


AT = "project=? AND home=? AND bucket=? AND section=? AND label=? AND position=?"
KEY = "project, home, bucket, section, label, position"


class Body(NamedTuple):
    """The contents that an object's row and its entries share."""

    value: bytes
    state: bytes | None
    labels: frozenset[str] | None


def encode_json(value: dict[str, Any]) -> bytes:
    """Encode JSON; ValueError for other values."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as exc:
        raise ValueError(f"not JSON: {exc}") from exc


def encode_body(value: dict[str, Any], state: dict[str, Any], labels: frozenset[str]) -> Body:
    """Encode a document's contents; DocumentTooLarge, or ValueError for what is not JSON."""
    encoded = Body(encode_json(value), encode_json(state) if state else None, labels or None)
    size = len(encoded.value) + len(encoded.state or b"")
    if size * 2 > MAX_DOCUMENT_BYTES:
        raise DocumentTooLarge(f"It has {size} bytes, and {MAX_DOCUMENT_BYTES // 2} are allowed.")
    for label in labels:
        label.encode()  # UnicodeEncodeError is a ValueError
    return encoded


def body_of(document: Document) -> Body:
    """Encode the contents of a document."""
    return encode_body(document.value, document.state, document.labels)


@dataclass(frozen=True, slots=True)
class ImportDocument(Insert):
    """An Insert of a document from another store, with its version."""

    version: int = 1


def inserted_document(operation: Insert, position: int, bucket: int) -> Document:
    """Return the document that an Insert creates."""
    return ListedDocument(
        operation.key,
        operation.value,
        operation.state,
        operation.parent,
        operation.labels,
        position,
        operation.version if isinstance(operation, ImportDocument) else 1,
        bucket,
    )


def decode_document(key: Key, parent: str, row: tuple[bytes, bytes | None, Any, int, int, int]) -> Document:
    """Return the document of (value, state, labels, version, position, bucket)."""
    value, state, labels, version, position, bucket = row
    return ListedDocument(
        key,
        orjson.loads(value),
        orjson.loads(state) if state else {},
        parent,
        frozenset(labels or ()),
        position,
        version,
        bucket,
    )


def decode_job(project: str, kind: str, id: str, row: tuple[float, int, str, bytes, int | None]) -> Job:
    """Return the job of (due, token, owner, payload, takeovers)."""
    due, token, owner, payload, takeovers = row
    return Job(project, kind, id, due, token, owner, orjson.loads(payload), takeovers or 0)


def storable(*names: str) -> bool:
    """Return whether names can be stored: text with lone surrogates cannot."""
    try:
        return all(len(name.encode()) < 60_000 for name in names)
    except UnicodeEncodeError:
        return False
