"""Pages of lists, in OpenAI's form."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal, Required, TypedDict, Unpack

from handlers.context import Context
from handlers.errors import BadRequest
from persistence.errors import CursorNotFound
from persistence.store import Document, Order, Page
from persistence.types import JSON

READ_AT_ONCE = 100
"""Documents that are read at once in search of those that match."""


class PageQuery(TypedDict, total=False):
    """The query of a list, with the edition's bounds and defaults. An empty cursor means none."""

    limit: Required[int]
    order: Required[Order]
    after: str | None
    before: str | None


async def read_page(
    context: Context,
    collection: str,
    parent: str = "",
    *,
    label: str | None = None,
    to_id: Callable[[str], str] = str,
    **query: Unpack[PageQuery],
) -> Page:
    """Return a page of one of the caller's lists; raise BadRequest if the cursor is not in that list.

    `to_id` turns an object's id into its document's.
    """
    after, before = query.get("after"), query.get("before")
    try:
        return await context.services.store.page(
            context.project,
            collection,
            parent,
            label=label,
            after=to_id(after) if after else None,
            before=to_id(before) if before else None,
            limit=query["limit"],
            order=query["order"],
        )
    except CursorNotFound as exc:
        param, cursor = ("after", after) if after else ("before", before)
        raise _no_such_cursor(param, cursor) from exc


async def read_matching_page(
    context: Context,
    collection: str,
    matches: Callable[[Document], bool] | None,
    *,
    label: str | None = None,
    **query: Unpack[PageQuery],
) -> Page:
    """Return a page of the documents that match, all of them without `matches`.

    The list is read page by page until enough documents match.
    """
    page = await read_page(context, collection, label=label, **query)
    if matches is None:
        return page
    found = list(filter(matches, page.documents))
    limit, order = query["limit"], query["order"]
    while page.has_more and len(found) <= limit:
        await asyncio.sleep(0)  # a store that answers at once must not keep other requests waiting
        after = page.documents[-1].id
        page = await read_page(context, collection, label=label, after=after, limit=READ_AT_ONCE, order=order)
        found += filter(matches, page.documents)
    return Page(found[:limit], has_more=len(found) > limit)


def _no_such_cursor(param: str, cursor: str | None) -> BadRequest:
    message = f"Invalid '{param}': no object with id '{cursor}' is in this list."
    return BadRequest(message, param=param, code="invalid_value")


def list_page(page: Page, render: Callable[[Document], JSON] | None = None) -> JSON:
    """Return the `list` object of a page, each document shown as its value or by `render`."""
    data = [render(document) if render else document.value for document in page.documents]
    return _list_object(data, has_more=page.has_more)


def list_slice(objects: Sequence[JSON], **query: Unpack[PageQuery]) -> JSON:
    """Return the `list` object of a page of `objects`, which are in ascending order."""
    ordered = list(objects if query["order"] == "asc" else reversed(objects))
    ids = [one["id"] for one in ordered]

    def position(param: Literal["after", "before"]) -> int | None:
        cursor = query.get(param)
        if not cursor:
            return None
        if cursor not in ids:
            raise _no_such_cursor(param, cursor)
        return ids.index(cursor)

    after, before = position("after"), position("before")
    limit, end = query["limit"], len(ordered) if before is None else before
    if after is None and before is not None:
        start = max(end - limit, 0)
        return _list_object(ordered[start:end], has_more=start > 0)
    start = 0 if after is None else after + 1
    return _list_object(ordered[start : min(start + limit, end)], has_more=start + limit < end)


def _list_object(data: list[JSON], *, has_more: bool) -> JSON:
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }
