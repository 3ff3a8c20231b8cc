"""Lists as OpenAI answers them."""

from collections.abc import Callable
from typing import Any

from handlers.context import JSON, Context
from handlers.errors import BadRequest
from persistence.errors import CursorNotFound
from persistence.store import Document, Order, Page

DEFAULT_LIMIT = 20
DEFAULT_ORDER: Order = "desc"
MAX_LIMIT = 100


async def read_page(
    context: Context,
    collection: str,
    parent: str = "",
    *,
    label: str | None = None,
    limit: int = DEFAULT_LIMIT,
    order: Order = DEFAULT_ORDER,
    after: str | None = None,
    before: str | None = None,
    max_limit: int = MAX_LIMIT,
    identify: Callable[[str], str] = str,
) -> Page:
    """A page of one of the caller's lists; BadRequest where a cursor is no member of that list.

    An empty cursor is none. `identify` makes the document's id of the one that the caller knows.
    The editions give `limit` no bounds, so its range (1 to `max_limit`) is checked here.
    """
    if limit < 1:
        raise _out_of_range("below minimum", "integer_below_min_value", ">= 1", limit)
    if limit > max_limit:
        raise _out_of_range("above maximum", "integer_above_max_value", f"<= {max_limit}", limit)
    try:
        return await context.services.store.page(
            context.project,
            collection,
            parent,
            label=label,
            after=identify(after) if after else None,
            before=identify(before) if before else None,
            limit=limit,
            order=order,
        )
    except CursorNotFound as exc:
        param, cursor = ("before", before) if not after else ("after", after)
        raise BadRequest(
            f"Invalid '{param}': no object with id '{cursor}' is in this list.",
            param=param,
            code="invalid_value",
        ) from exc


def list_envelope(page: Page, render: Callable[[Document], JSON] | None = None) -> dict[str, Any]:
    """The page as a `list` object, each document shown as its value or by `render`."""
    data = [render(document) if render else document.value for document in page.documents]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": page.has_more,
    }


def _out_of_range(what: str, code: str, expected: str, limit: int) -> BadRequest:
    return BadRequest(
        f"Invalid 'limit': integer {what} value. Expected a value {expected}, but got {limit} instead.",
        param="limit",
        code=code,
    )
