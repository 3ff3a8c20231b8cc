"""Responses: create, retrieve, follow, cancel, delete, list their input."""

from collections.abc import AsyncIterator

from handlers.context import Answer, Context, Stream
from handlers.errors import BadRequest
from handlers.pages import list_slice
from handlers.registry import operation
from handlers.response_images import shows_images
from handlers.response_requests import checked_request
from handlers.response_streams import begun, until_end, whole_response
from inference.engine.errors import IllegalTransition
from inference.responses.items import UNRESOLVED, shown
from inference.responses.objects import has_ended, shown_response
from persistence.store import Document, Order
from persistence.types import JSON


@operation("createResponse", cancel_on_disconnect=True)
@operation("beta_createResponse", cancel_on_disconnect=True)
@shows_images
async def create_response(context: Context, body: JSON) -> Answer:
    """Ask a model, with what a response or a conversation holds already."""
    request = await checked_request(context, body)
    started = await context.services.responses.start(request)
    if started.events is None:
        return started.run
    events = until_end(context, request, started.events)
    if body.get("stream"):
        return _stream(started.run, await begun(events, request))
    return await whole_response(events, request)


@operation("getResponse")
@operation("beta_getResponse")
@shows_images
async def get_response(
    context: Context,
    response_id: str,
    include: list[str] | None = None,
    stream: bool | None = None,
    starting_after: int | None = None,
    include_obfuscation: bool | None = None,
) -> Answer:
    """Return the response, or its events after that number until its end."""
    response = await _find(context, response_id)
    if not stream:
        return shown_response(response.value, include or response.state["extra"]["include"])
    options: JSON = {} if include_obfuscation is None else {"obfuscation": include_obfuscation}
    after = -1 if starting_after is None else starting_after
    engine = context.services.responses.engine
    return _stream(response.value, await engine.replay(response, after, options))


@operation("deleteResponse")
@operation("beta_deleteResponse")
async def delete_response(context: Context, response_id: str) -> JSON:
    """Delete the response; responses that continue it lose its items."""
    await context.services.responses.delete(context.project, response_id)
    return {"id": response_id, "object": "response", "deleted": True}


@operation("cancelResponse")
@operation("beta_cancelResponse")
@shows_images
async def cancel_response(context: Context, response_id: str) -> JSON:
    """Cancel a response that runs in the background; one that has ended is answered as it is."""
    response = await _find(context, response_id)
    if not response.value["background"]:
        raise BadRequest("Cannot cancel a synchronous response.", param="response_id")
    if has_ended(response.value):
        return shown_response(response.value, ())
    try:
        return shown_response(await context.services.responses.engine.cancel(response), ())
    except IllegalTransition:  # it ended meanwhile
        return shown_response((await _find(context, response_id)).value, ())


@operation("listInputItems")
@operation("beta_listInputItems")
@shows_images
async def list_input_items(
    context: Context,
    response_id: str,
    include: list[str] | None = None,
    limit: int = 20,
    order: Order = "desc",
    after: str | None = None,
    before: str | None = None,
) -> JSON:
    """Return a page of the items that the response's model read, those of earlier responses included."""
    response = await _find(context, response_id)
    window = context.services.gateway.context_window(response.value["model"])
    items = await context.services.responses.contexts.of_request(response, window)
    listed = [shown(item, include or ()) for item in items if item["type"] not in UNRESOLVED]
    return list_slice(listed, limit=limit, order=order, after=after, before=before)


def _stream(response: JSON, events: AsyncIterator[bytes]) -> Stream:
    path = f"/v1/responses/{response['id']}?stream=true&starting_after=N"
    return Stream(
        events, f"The response continues; GET {path} returns its events after the event with number N."
    )


async def _find(context: Context, id: str) -> Document:
    return await context.services.responses.find(context.project, id)
