"""Responses: create, retrieve, follow, cancel, delete, list their input."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from itertools import count
from typing import Any

import orjson

from handlers.compactions import compaction_rule
from handlers.context import Answer, Context, Stream
from handlers.credentials import caller_settings, require_store
from handlers.errors import ApiError, BadRequest, ServerError, TooManyRequests
from handlers.item_contents import check_files_and_images
from handlers.pages import list_slice
from handlers.prompts import with_prompt
from handlers.registry import operation
from inference.engine.errors import IllegalTransition
from inference.errors import InferenceError, ModelNotFound
from inference.gateway.gateway import FIRST_EVENT_WAIT
from inference.gateway.requests import REASONING
from inference.identifiers import new_id
from inference.responses.event_frames import TERMINAL
from inference.responses.items import UNRESOLVED, owned_id, shown, stored_items
from inference.responses.objects import shown_response
from inference.responses.responses import ResponseRequest
from inference.responses.tools import RequestTools
from inference.retrieval.filters import parse_filter
from persistence.errors import StoreError
from persistence.store import Document, Order
from persistence.types import JSON

UNSUPPORTED = ("moderation", "multi_agent", "personality")
"""Fields that this server does not serve; they are refused, not dropped."""

AS_IN_CHAT = (
    "frequency_penalty",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "temperature",
    "top_p",
    "user",
)
"""Fields that chat completions have under the same name."""

FIRST_INPUT = 0x8000
"""The number in the id of a response's first input item; those of its output begin with 0."""

EVENT, DATA, FAILED = b"event: ", b"\ndata: ", b"event: response.failed\n"

_running: set[asyncio.Task[Any]] = set()
"""Cancellations under way: the loop itself keeps only weak references."""


@operation("createResponse", cancel_on_disconnect=True)
@operation("beta_createResponse", cancel_on_disconnect=True)
async def create_response(context: Context, body: JSON) -> Answer:
    """Ask a model, with what a response or a conversation holds already."""
    request = await checked_request(context, body)
    started = await context.services.responses.start(request)
    if started.events is None:
        return started.run
    events = until_end(context, request, started.events)
    if body.get("stream"):
        return _stream(started.run, await _begun(events))
    return await whole_response(events)


@operation("getResponse")
@operation("beta_getResponse")
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
async def cancel_response(context: Context, response_id: str) -> JSON:
    """Cancel a response that runs in the background; once more changes nothing."""
    response = await _find(context, response_id)
    if not response.value["background"]:
        raise BadRequest("Cannot cancel a synchronous response.", param="response_id")
    if response.value["status"] == "cancelled":
        return shown_response(response.value, ())
    try:
        return shown_response(await context.services.responses.engine.cancel(response), ())
    except IllegalTransition as exc:
        if exc.status == "cancelled":  # by another request meanwhile
            return shown_response((await _find(context, response_id)).value, ())
        raise BadRequest(f"Cannot cancel a {exc.status} response.", param="response_id") from exc


@operation("listInputItems")
@operation("beta_listInputItems")
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


# --- requests ---


async def checked_request(context: Context, body: JSON, *, needs_model: bool = True) -> ResponseRequest:
    """Return the request that a body asks for; what cannot be served is refused by its name."""
    if body.get("store") is not False:
        require_store(context, "'store'")
        body = {**body, "store": True}
    _check_fields(body)
    body = await with_prompt(context, body)
    _check_values(body)
    if needs_model:
        _check_model(context, body.get("model"))
    tools = RequestTools.of(body.get("tools") or [], body.get("tool_choice"), [])
    if tools.refused:
        names = ", ".join(sorted({f"'{tool['type']}'" for tool in tools.refused}))
        raise BadRequest(
            f"This server does not run the tool {names}.", param="tools", code="unsupported_parameter"
        )
    await _check_vector_stores(context, tools.server)
    conversation = body.get("conversation")
    if isinstance(conversation, dict):
        body = {**body, "conversation": conversation["id"]}
    id = new_id("resp_")
    numbers = count(FIRST_INPUT)
    items = stored_items(body.get("input") or [], lambda prefix: owned_id(prefix, id, next(numbers)))
    await check_files_and_images(context, items, "input")
    compaction, items = compaction_rule(context, body, items)
    return ResponseRequest(
        context.project,
        id,
        body,
        items,
        _chat_options(body),
        caller=await caller_settings(context),
        memory=context.connection,
        compaction=compaction,
    )


async def _check_vector_stores(context: Context, tools: list[JSON]) -> None:
    """Raise what the search would raise later, by the field."""
    stores = context.services.retrieval.vector_stores
    for tool in tools:
        if tool["type"] != "file_search":
            continue
        for id in tool["vector_store_ids"]:
            await stores.usable(context.project, id, "tools.vector_store_ids")
        if tool.get("filters") is not None:
            parse_filter(tool["filters"], "tools.filters")


def _check_model(context: Context, model: str | None) -> None:
    if model is None:
        raise _missing("model")
    try:
        context.services.gateway.check_model(model)
    except ModelNotFound as exc:
        message = f"The requested model '{model}' does not exist. {exc.hint}".strip()
        raise BadRequest(message, param="model", code="model_not_found") from exc


def _check_fields(body: JSON) -> None:
    if body.get("previous_response_id") is not None and body.get("conversation") is not None:
        raise BadRequest(
            "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Ensure you are only "
            "providing one of: 'previous_response_id' or 'conversation'.",
            code="mutually_exclusive_parameters",
        )
    if not body["store"] if "store" in body else False:
        for name in ("background", "conversation"):
            if body.get(name):
                raise BadRequest(f"'{name}' needs a response that is stored.", param=name)
    for name in UNSUPPORTED:
        if body.get(name) is not None:
            raise BadRequest(
                f"This server does not support '{name}'.", param=name, code="unsupported_parameter"
            )


def _check_values(body: JSON) -> None:
    """Refuse values of fields that no model here is asked for."""
    if (body.get("reasoning") or {}).get("mode") not in (None, "standard"):
        message = f"This server does not support '{body['reasoning']['mode']}' as 'reasoning.mode'."
        raise BadRequest(message, param="reasoning.mode", code="unsupported_value")
    for index, tool in enumerate(body.get("tools") or ()):
        callers = tool.get("allowed_callers")
        if callers and "direct" not in callers:
            param = f"tools[{index}].allowed_callers"
            message = f"This server does not support '{param}' without 'direct'."
            raise BadRequest(message, param=param, code="unsupported_value")


def _missing(name: str) -> BadRequest:
    return BadRequest(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")


def _chat_options(body: JSON) -> JSON:
    """Return the fields of a request as chat completions name them."""
    options = {name: body[name] for name in AS_IN_CHAT if body.get(name) is not None}
    verbosity = (body.get("text") or {}).get("verbosity")
    if verbosity is not None:
        options["verbosity"] = verbosity
    top = body.get("top_logprobs")
    if top or "message.output_text.logprobs" in (body.get("include") or ()):
        options |= {"logprobs": True, "top_logprobs": top or 0}
    reasoning = {name: value for name, value in (body.get("reasoning") or {}).items() if value is not None}
    return {**options, REASONING: reasoning} if reasoning else options


# --- answers ---


async def until_end(
    context: Context, request: ResponseRequest, events: AsyncIterator[bytes]
) -> AsyncGenerator[bytes, None]:
    """Yield the events; a response in the foreground is cancelled if its client leaves before its end."""
    last = b""
    try:
        async for piece in events:
            last = piece
            yield piece
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()
        in_foreground = request.is_stored and not request.body.get("background")
        if in_foreground and not _ends(last):
            task = asyncio.create_task(_cancel(context, request.id))
            _running.add(task)
            task.add_done_callback(_running.discard)


async def _cancel(context: Context, id: str) -> None:
    services = context.services
    if services.jobs.is_stopping:  # another worker continues it
        return
    # If it has ended or is gone there is nothing to do; else its lease runs out, and it ends by itself.
    with contextlib.suppress(InferenceError, StoreError):
        await services.responses.engine.cancel(await services.responses.find(context.project, id))


async def _begun(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Return the events once the model has begun; a provider that refuses soon is an error with a status.

    SDKs try again by the status. A slow provider is not waited for.
    """
    first = await anext(events)
    following = asyncio.ensure_future(anext(events, b""))
    try:
        await asyncio.wait({following}, timeout=FIRST_EVENT_WAIT)
    except asyncio.CancelledError:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await events.aclose()
        raise
    if following.done() and not following.exception() and following.result().startswith(FAILED):
        response: JSON = _event_at_end(following.result())["response"]
        if not response["output"]:
            await events.aclose()
            raise _failure(response["error"])
    return _joined(first, following, events)


async def _joined(
    first: bytes, following: asyncio.Future[bytes], events: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    try:
        yield first
        yield await following
        async for piece in events:
            yield piece
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await events.aclose()


async def whole_response(events: AsyncGenerator[bytes, None]) -> JSON:
    """Return the response at the end of its events; one that failed is an error."""
    last = b""
    async for piece in events:
        last = piece
    if not _ends(last):
        raise ServerError("The response's events ended before it did.")
    response: JSON = _event_at_end(last)["response"]
    if response["status"] == "failed":
        raise _failure(response["error"])
    return response


def _event_at_end(piece: bytes) -> JSON:
    event: JSON = orjson.loads(piece[piece.rfind(DATA) + len(DATA) :])
    return event


def _ends(piece: bytes) -> bool:
    """Return whether a piece of a stream has its last event."""
    name = piece[piece.rfind(EVENT) + len(EVENT) :].partition(b"\n")[0]
    return name.decode() in TERMINAL.values()


def _failure(error: JSON) -> ApiError:
    match error["code"]:
        case "rate_limit_exceeded":
            return TooManyRequests(error["message"])
        case "invalid_prompt":
            return BadRequest(error["message"], code="invalid_prompt")
        case _:
            return ServerError(error["message"], code=error["code"])


def _stream(response: JSON, events: AsyncIterator[bytes]) -> Stream:
    path = f"/v1/responses/{response['id']}?stream=true&starting_after=N"
    return Stream(
        events, f"The response continues; GET {path} returns its events after the event with number N."
    )


async def _find(context: Context, id: str) -> Document:
    return await context.services.responses.find(context.project, id)
