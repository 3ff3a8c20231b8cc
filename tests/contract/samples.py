"""A list of documents as the tests use it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from persistence.store import Document, Insert, Key, Page, Store


@dataclass(frozen=True)
class List:
    """The documents of one collection under one parent.

    `prefix` is before each of their ids in the store; the tests' ids are without.
    """

    store: Store
    project: str
    collection: str
    parent: str
    prefix: str = ""

    def key(self, id: str) -> Key:
        return Key(self.project, self.collection, self.prefix + id)

    def name(self, document: Document) -> str:
        return document.id.removeprefix(self.prefix)

    def insert(self, id: str, **fields: Any) -> Insert:
        return Insert(self.key(id), {"id": id, "text": f"the text of {id}"}, parent=self.parent, **fields)

    async def add(self, id: str, **fields: Any) -> Document:
        [document] = await self.store.write(self.insert(id, **fields))
        return document

    async def fill(self, count: int) -> list[str]:
        """Add so many documents one after the other; their ids in order."""
        ids = [f"msg_{number:03d}" for number in range(count)]
        await self.store.write(*(self.insert(id) for id in ids))
        return ids

    async def get(self, id: str) -> Document | None:
        return await self.store.get(self.key(id))

    async def page(self, **arguments: Any) -> Page:
        for cursor in {"after", "before"} & arguments.keys():
            if arguments[cursor] is not None:
                arguments[cursor] = self.prefix + arguments[cursor]
        return await self.store.page(self.project, self.collection, self.parent, **arguments)

    async def ids(self, **arguments: Any) -> list[str]:
        return [self.name(document) for document in (await self.page(**arguments)).documents]

    async def walk(self, after: str | None = None, **arguments: Any) -> list[str]:
        """All ids, or those behind `after`, page by page as a client sees them."""
        ids: list[str] = []
        while True:
            page = await self.page(after=ids[-1] if ids else after, **arguments)
            ids += [self.name(document) for document in page.documents]
            if not page.has_more:
                return ids


def without(ids: Iterable[str], *gone: str) -> list[str]:
    return [id for id in ids if id not in gone]
