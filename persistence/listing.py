"""Reads whole lists, page by page."""

from collections.abc import AsyncIterator
from functools import partial

from persistence.documents import DocumentStore
from persistence.errors import CursorNotFound
from persistence.store import Document, Order

PAGE = 100


async def pages(
    store: DocumentStore,
    project: str,
    collection: str,
    parent: str = "",
    *,
    label: str | None = None,
    after: Document | None = None,
    limit: int = PAGE,
    order: Order = "asc",
) -> AsyncIterator[list[Document]]:
    """Yield the documents of a list behind `after`, at most `limit` at once; empty pages are left out.

    With a `label` only those that have it. If the last document of a page is deleted before the next page
    is read, the list is read from its beginning, and what was yielded is left out.
    """
    read = partial(store.page, project, collection, parent, label=label, limit=limit, order=order)
    cursor = passed = after
    while True:
        try:
            page = await read(after=cursor.id if cursor else None)
        except CursorNotFound:
            page = await read()
        new = [each for each in page.documents if passed is None or _is_behind(each, passed, order)]
        if new:
            yield new
            passed = new[-1]
        if not page.has_more:
            return
        cursor = page.documents[-1]


def _is_behind(document: Document, passed: Document, order: Order) -> bool:
    return document.position > passed.position if order == "asc" else document.position < passed.position
