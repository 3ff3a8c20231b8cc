"""Documents: the objects of the API, found by key and listed by position."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from persistence.types import JSON

Order = Literal["asc", "desc"]


def child_id(parent: str, id: str) -> str:
    """Return the id of a document that is stored with its parent."""
    return f"{parent}/{id}"


class Key(NamedTuple):
    """The key of a document; no key reaches another project's documents.

    An id of the form `parent/rest` says that the document is only read through its parent, in
    whose list it is: an engine may store the two together and change both in one transaction.
    """

    project: str
    collection: str
    id: str


@dataclass(frozen=True, slots=True)
class Document:
    """A stored object.

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


MAX_DOCUMENT_BYTES = 12 * 1024 * 1024
"""Bytes of a document's value and state; more is DocumentTooLarge, as one object is decoded in one piece.

Half of it on Cassandra, where a write holds a document twice and may have 16 MB.
"""

PAGE_BYTES = 8 * 1024 * 1024
"""Bytes of the documents of one page, unless the first alone has more."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, in the requested order."""

    documents: list[Document]
    has_more: bool


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
    """Change `document` as it was read; VersionConflict if it was changed since."""

    document: Document
    value: JSON | None = None
    state: JSON | None = None
    labels: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete `document` as it was read; VersionConflict if it was changed since."""

    document: Document


@dataclass(frozen=True, slots=True)
class Clear:
    """Delete every document of a list (all messages of a thread); none is no error.

    `limit` is for a long list: an engine whose writes wait for each other deletes no more at once, the first
    ones first.
    """

    project: str
    collection: str
    parent: str
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Write only if `document` is still as it was read; VersionConflict otherwise."""

    document: Document


class DocumentStore(Protocol):
    """Reads documents; `Store.write` changes them."""

    async def get(self, key: Key) -> Document | None:
        """Return the document, or None."""

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
        """Return a page of a list by position; `after` and `before` are ids of its documents.

        `after` starts behind that document in the order asked for, `before` ends ahead of it: with
        `before` alone the page is the one that ends just there, and `has_more` says whether there are
        documents ahead of the page; otherwise, whether there are any behind it (and ahead of `before`).
        CursorNotFound for an id that is not in that parent's list; one that has not the label is.
        An engine may give a document's `state` and `version` as they were before changes that
        touched nothing but the state: `get` has the last word. A page has fewer documents than
        `limit`, and `has_more` is true, where more would exceed PAGE_BYTES.
        """
