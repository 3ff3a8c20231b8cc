"""Compact the context of responses."""

from handlers.context import Context
from handlers.errors import ServerError
from handlers.registry import operation
from handlers.response_requests import checked_request
from handlers.response_streams import until_end, whole_response
from inference.responses.items import TRIGGER, shown
from persistence.types import JSON


@operation("Compactconversation", cancel_on_disconnect=True)
@operation("beta_Compactconversation", cancel_on_disconnect=True)
async def compact_conversation(context: Context, body: JSON) -> JSON:
    """Return the user's messages and one item that stands for the rest in later requests.

    Nothing is stored.
    """
    given = body.get("input") or []
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not items or items[-1].get("type") != TRIGGER:
        items = [*items, {"type": TRIGGER}]
    request = await checked_request(context, {**body, "input": items, "store": False})
    started, read = await context.services.responses.start_unstored(request)
    said = [shown(item, ()) for item in read if item["type"] == "message" and item["role"] == "user"]
    if started.events is None:
        raise RuntimeError("a response that is not stored has its events")
    response = await whole_response(until_end(context, request, started.events), request)
    if not response["output"]:
        raise ServerError("The model gave no summary of the conversation.")
    return {
        "id": response["id"],
        "object": "response.compaction",
        "created_at": response["created_at"],
        "output": [*said, *response["output"]],
        "usage": response["usage"],
    }
