"""Lists as OpenAI answers them."""

from collections.abc import Callable
from typing import Required, TypedDict, Unpack

from handlers.context import Context
from handlers.errors import BadRequest
from persistence.errors import CursorNotFound
from persistence.store import Document, Order, Page
from persistence.types import JSON


class PageQuery(TypedDict, total=False):
    """The query of a list: its bounds and defaults are the edition's. An empty cursor is none."""

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
    """Return a page of one of the caller's lists; BadRequest where a cursor is no member of that list.

    `to_id` makes the document's id of the one that the caller knows.
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
        raise BadRequest(
            f"Invalid '{param}': no object with id '{cursor}' is in this list.",
            param=param,
            code="invalid_value",
        ) from exc


def list_envelope(page: Page, render: Callable[[Document], JSON] | None = None) -> JSON:
    """Make the `list` object of a page, each document shown as its value or by `render`."""
    data = [render(document) if render else document.value for document in page.documents]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": page.has_more,
    }
