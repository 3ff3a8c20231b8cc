"""Chat completions, stored where the request has `store: true`."""

import hashlib
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

import orjson

from handlers.context import Context, Relayed, Stream
from handlers.credentials import chat_credentials
from handlers.errors import BadRequest, NotFound
from handlers.pages import list_envelope, read_page
from handlers.registry import operation
from handlers.resources import check_fixed, delete_object
from inference.gateway import ChunkAccumulator, sse
from persistence.collections import CHAT_COMPLETIONS
from persistence.retry import update_with_retry
from persistence.store import Document, Insert, Key, Order, Page, Replace
from persistence.types import JSON

_ECHOED = ("tool_choice", "seed", "top_p", "temperature", "presence_penalty", "frequency_penalty")
"""Fields of the request that a stored completion repeats."""


@operation("createChatCompletion", cancel_on_disconnect=True)
async def create_chat_completion(context: Context, body: JSON) -> Relayed | Stream:
    """Ask the model of that name; every field of the request goes to its provider."""
    gateway, credentials = context.services.gateway, chat_credentials(context.headers)
    if not body.get("store"):
        request = {name: value for name, value in body.items() if name != "store"}
        if body.get("stream"):
            return Stream(gateway.relay(request, credentials))
        return Relayed(await gateway.complete(request, credentials))
    # The store is ours, so the provider is asked for neither of its two fields.
    request = {name: value for name, value in body.items() if name not in ("store", "metadata")}
    if body.get("stream"):
        request["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        return Stream(_kept_stream(context, body, gateway.chunks(request, credentials)))
    completion = {**await gateway.complete(request, credentials), "id": _new_id()}
    await _keep(context, body, completion)
    return Relayed(completion)


async def _kept_stream(
    context: Context, body: JSON, chunks: AsyncGenerator[JSON, None]
) -> AsyncGenerator[bytes, None]:
    """Yield the stream under an id of the server's own, and store it before `[DONE]`."""
    id, accumulator = _new_id(), ChunkAccumulator()
    wants_usage = (body.get("stream_options") or {}).get("include_usage")
    async with aclosing(chunks):
        async for chunk in chunks:
            chunk["id"] = id
            accumulator.add(chunk)
            if not wants_usage and chunk.pop("usage", None) is not None and not chunk.get("choices"):
                continue
            yield sse.frame(chunk)
    await _keep(context, body, accumulator.completion())
    yield sse.DONE


def _new_id() -> str:
    return f"chatcmpl-{secrets.token_hex(14)}"


async def _keep(context: Context, body: JSON, completion: JSON) -> None:
    value = {
        **completion,
        "request_id": context.request_id,
        **{name: body.get(name) for name in _ECHOED},
        "input_user": body.get("user"),
        "tools": body.get("tools"),
        "metadata": body.get("metadata") or {},
        "response_format": body.get("response_format"),
    }
    insert = Insert(
        Key(context.project, CHAT_COMPLETIONS, completion["id"]),
        value,
        {"messages": body["messages"], "model": body["model"]},
        labels=_labels(body["model"], completion["model"], value["metadata"]),
    )
    await context.services.store.write(insert)


@operation("listChatCompletions")
async def list_chat_completions(
    context: Context,
    model: str | None = None,
    metadata: Mapping[str, str] | None = None,
    after: str | None = None,
    limit: int = 20,
    order: Order = "asc",
) -> JSON:
    """List stored completions, oldest first by default."""
    wanted = {*(_metadata_label(*pair) for pair in (metadata or {}).items())}
    if model is not None:
        wanted.add(_model_label(model))
    page = await _filtered(context, sorted(wanted), after, limit, order)
    return list_envelope(page)


async def _filtered(context: Context, labels: list[str], after: str | None, limit: int, order: Order) -> Page:
    """Return a page of the documents with all labels, filtered from the list of the first."""
    label = labels[0] if labels else None
    page = await read_page(context, CHAT_COMPLETIONS, label=label, after=after, limit=limit, order=order)
    if len(labels) < 2:
        return page
    found = [document for document in page.documents if document.labels >= set(labels)]
    while page.has_more and len(found) <= limit:
        cursor = page.documents[-1].id
        page = await read_page(context, CHAT_COMPLETIONS, label=label, after=cursor, limit=100, order=order)
        found += [document for document in page.documents if document.labels >= set(labels)]
    return Page(found[:limit], has_more=len(found) > limit)


def _labels(asked: str, answered: str, metadata: Mapping[str, str]) -> frozenset[str]:
    """Return the labels: the requested and the answering model, and the metadata."""
    names = {_model_label(asked), _model_label(answered)}
    return frozenset(names | {_metadata_label(*pair) for pair in metadata.items()})


def _model_label(model: str) -> str:
    return f"model:{model}"


def _metadata_label(name: str, value: str) -> str:
    """Return a label of bounded length."""
    return f"metadata:{hashlib.sha256(orjson.dumps([name, value])).hexdigest()[:32]}"


@operation("getChatCompletion")
async def get_chat_completion(context: Context, completion_id: str) -> JSON:
    """Return a stored completion."""
    return (await _stored(context, completion_id)).value


@operation("updateChatCompletion")
async def update_chat_completion(context: Context, completion_id: str, body: JSON) -> JSON:
    """Replace the metadata of a stored completion."""
    metadata = body.get("metadata") or {}

    def change(document: Document) -> Replace:
        check_fixed(context, document.value, body, {"metadata"})
        value = {**document.value, "metadata": metadata}
        labels = _labels(document.state["model"], document.value["model"], metadata)
        return Replace(document, value, labels=labels)

    document = await update_with_retry(context.services.store, _key(context, completion_id), change)
    if document is None:
        raise _not_found(completion_id)
    return document.value


@operation("deleteChatCompletion")
async def delete_chat_completion(context: Context, completion_id: str) -> JSON:
    """Delete a stored completion."""
    await delete_object(context, partial(_stored, context, completion_id))
    return {"object": "chat.completion.deleted", "id": completion_id, "deleted": True}


@operation("getChatCompletionMessages")
async def get_chat_completion_messages(
    context: Context,
    completion_id: str,
    after: str | None = None,
    limit: int = 20,
    order: Order = "asc",
) -> JSON:
    """List the request's messages of a stored completion."""
    document = await _stored(context, completion_id)
    messages = [_message(completion_id, *pair) for pair in enumerate(document.state["messages"])]
    if order == "desc":
        messages.reverse()
    if not 1 <= limit <= 100:
        raise BadRequest(f"Invalid 'limit': expected 1 to 100, but got {limit}.", param="limit")
    start = 0
    if after:
        places = [place for place, message in enumerate(messages) if message["id"] == after]
        if not places:
            raise BadRequest(f"Invalid 'after': no message with id '{after}' is in this list.", param="after")
        start = places[0] + 1
    data = messages[start : start + limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": start + limit < len(messages),
    }


def _message(completion_id: str, place: int, message: JSON) -> JSON:
    content: Any = message.get("content")
    text = content if isinstance(content, str) else None
    parts = content if isinstance(content, list) else None
    shown = {"name": None, "refusal": None, **message, "content": text, "content_parts": parts}
    return {"id": f"{completion_id}-{place}", **shown}


def _key(context: Context, completion_id: str) -> Key:
    return Key(context.project, CHAT_COMPLETIONS, completion_id)


async def _stored(context: Context, completion_id: str) -> Document:
    document = await context.services.store.get(_key(context, completion_id))
    if document is None:
        raise _not_found(completion_id)
    return document


def _not_found(completion_id: str) -> NotFound:
    return NotFound(f"Completion {completion_id} not found", param="completion_id", code="not_found")
