"""Stored chat completions: list, retrieve, update, delete, and their messages."""

import asyncio
import hashlib
import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any, Unpack

import orjson

from handlers.context import Context
from handlers.errors import BadRequest, NotFound
from handlers.pages import PageQuery, list_page, list_slice, read_matching_page
from handlers.registry import operation
from handlers.resources import check_fixed, delete_object, update_object
from persistence.collections import CHAT_COMPLETIONS
from persistence.documents import MAX_DOCUMENT_BYTES
from persistence.store import Document, Insert, Key, Replace
from persistence.types import JSON

SHOWN_FIELDS = ("tool_choice", "seed", "top_p", "temperature", "presence_penalty", "frequency_penalty")
"""Fields of the request that a stored completion shows under their own names."""


MAX_REQUEST = MAX_DOCUMENT_BYTES // 2
"""Bytes of the request of a completion that is stored: every engine takes them."""


def new_id() -> str:
    """Return an id for a completion."""
    return f"chatcmpl-{secrets.token_hex(14)}"


async def check_size(body: JSON) -> None:
    """Raise BadRequest for a request that is too large to be stored, before its model is asked."""
    size = len(await asyncio.to_thread(orjson.dumps, body))
    if size > MAX_REQUEST:
        message = f"The request is too large for `store`: it has {size} bytes, and {MAX_REQUEST} are allowed."
        raise BadRequest(message, code="object_too_large")


async def store_completion(context: Context, body: JSON, completion: JSON) -> None:
    """Store a completion with its request's fields and messages."""
    value = {
        **completion,
        "request_id": context.request_id,
        **{name: body.get(name) for name in SHOWN_FIELDS},
        "input_user": body.get("user"),
        "tools": body.get("tools"),
        "metadata": body.get("metadata") or {},
        "response_format": body.get("response_format"),
    }
    insert = Insert(
        _key(context, completion["id"]),
        value,
        {"messages": body["messages"], "model": body["model"]},
        labels=_labels(body["model"], completion["model"], value["metadata"]),
    )
    await context.services.store.write(insert)


@operation("listChatCompletions", cancel_on_disconnect=True)
async def list_chat_completions(
    context: Context,
    model: str | None = None,
    metadata: Mapping[str, str] | None = None,
    **page: Unpack[PageQuery],
) -> JSON:
    """Return a page of the project's stored completions, of one model or with some metadata."""
    labels = [_metadata_label(*pair) for pair in (metadata or {}).items()]
    if model is not None:
        labels.append(_model_label(model))
    # The store finds one label; the others are compared here.
    label = labels[0] if labels else None
    matches = (lambda document: document.labels.issuperset(labels)) if len(labels) > 1 else None
    return list_page(await read_matching_page(context, CHAT_COMPLETIONS, matches, label=label, **page))


def _labels(requested: str, answered: str, metadata: Mapping[str, str]) -> frozenset[str]:
    """Return a completion's labels: the model that was requested, the one that answered, the metadata."""
    names = {_model_label(requested), _model_label(answered)}
    return frozenset(names | {_metadata_label(*pair) for pair in metadata.items()})


def _model_label(model: str) -> str:
    return f"model:{model}"


def _metadata_label(name: str, value: str) -> str:
    """Return a label of bounded length."""
    return f"metadata:{hashlib.sha256(orjson.dumps([name, value])).hexdigest()[:32]}"


@operation("getChatCompletion")
async def get_chat_completion(context: Context, completion_id: str) -> JSON:
    """Return the stored completion."""
    return (await _find(context, completion_id)).value


@operation("updateChatCompletion")
async def update_chat_completion(context: Context, completion_id: str, body: JSON) -> JSON:
    """Replace the metadata."""
    metadata = body.get("metadata") or {}

    def change(document: Document) -> Replace:
        check_fixed(context, document.value, body, {"metadata"})
        labels = _labels(document.state["model"], document.value["model"], metadata)
        return Replace(document, {**document.value, "metadata": metadata}, labels=labels)

    return (await update_object(context, partial(_find, context, completion_id), change)).value


@operation("deleteChatCompletion")
async def delete_chat_completion(context: Context, completion_id: str) -> JSON:
    """Delete the stored completion."""
    await delete_object(context, partial(_find, context, completion_id))
    return {"object": "chat.completion.deleted", "id": completion_id, "deleted": True}


@operation("getChatCompletionMessages")
async def get_chat_completion_messages(
    context: Context, completion_id: str, **page: Unpack[PageQuery]
) -> JSON:
    """Return a page of the messages that the completion's request had."""
    document = await _find(context, completion_id)
    messages = document.state["messages"]
    places: list[JSON] = [{"id": f"{completion_id}-{n}", "index": n} for n in range(len(messages))]
    listed = list_slice(places, **page)
    listed["data"] = [_message(one["id"], messages[one["index"]]) for one in listed["data"]]
    return listed


def _message(id: str, message: JSON) -> JSON:
    content: Any = message.get("content")
    text = content if isinstance(content, str) else None
    parts = content if isinstance(content, list) else None
    shown = {"name": None, "refusal": None, **message, "content": text, "content_parts": parts}
    return {"id": id, **shown}


def _key(context: Context, completion_id: str) -> Key:
    return Key(context.project, CHAT_COMPLETIONS, completion_id)


async def _find(context: Context, completion_id: str) -> Document:
    document = await context.services.store.get(_key(context, completion_id))
    if document is None:
        message = f"Completion {completion_id} not found"
        raise NotFound(message, param="completion_id", code="not_found")
    return document
