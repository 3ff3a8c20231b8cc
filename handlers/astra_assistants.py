"""Answers of Astra Assistants that contradict OpenAI's API; only with `ASTROLABE_AUTH=astra`.

A rule is a change of the edition's schemas (`SCHEMA_RULES`), or a decorator of one operation's handler
(`HANDLER_RULES`). Each line says who needs it. The client is `astra-assistants` 2.5.5.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import orjson

from handlers.context import Answer, Context, Stream
from handlers.messages import free_thread, message_insert
from handlers.registry import Registered
from handlers.resources import find_child
from handlers.run_steps import RESULTS_CONTENT
from handlers.tool_resources import RequestVectorStores
from inference.retrieval.errors import ObjectNotFound
from persistence.collections import MESSAGES
from persistence.retry import retry_on_conflict
from persistence.store import Check, Insert, Key, Operation, Replace, child_id
from persistence.types import JSON
from spec.changes import takes_fields_of, takes_unknown_fields
from spec.errata import Erratum

Handler = Callable[..., Awaitable[Any]]

REWRITABLE = ("content", "role", "attachments")
"""The fields of a message that `messages.update` may change, besides its metadata."""

FIELDS_OF_ONE_VERSION = (
    "attachments", "file_ids", "parallel_tool_calls", "reasoning_effort", "response_format",
    "tool_resources", "top_p",
)  # fmt: skip
"""Fields that one version of the Assistants API has and the other lacks: not ignored where it lacks them."""

FALLBACK_MODEL = "openai/text-embedding-3-large"
"""The embedding model that a file shows if its uploader named none and the server has none."""


# --- files ---


def shows_embedding_model(handler: Handler) -> Handler:
    """Show the embedding model in answers with files: named by their upload, else the server's."""

    @wraps(handler)
    async def call(context: Context, **arguments: Any) -> Any:
        answer = await handler(context, **arguments)
        if answer["object"] == "list":
            return {**answer, "data": [_with_model(context, file) for file in answer["data"]]}
        return _with_model(context, answer)

    return call


def _with_model(context: Context, file: JSON) -> JSON:
    return {"embedding_model": _default_model(context), **file}


def _default_model(context: Context) -> str:
    """Return the server's embedding model with a provider, as the client derives a key from it."""
    model = context.services.gateway.default_embedding_model()
    if model is None:
        return FALLBACK_MODEL
    return model if "/" in model else f"openai/{model}"


def deletes_unknown(handler: Handler) -> Handler:
    """Answer the deletion of a file that does not exist as if it had existed."""

    @wraps(handler)
    async def call(context: Context, file_id: str) -> Any:
        try:
            return await handler(context, file_id=file_id)
        except ObjectNotFound:
            return {"id": file_id, "object": "file", "deleted": True}

    return call


# --- messages ---


def rewrites(handler: Handler) -> Handler:
    """Change the content, role and attachments of a message; its thread may have no active run."""

    @wraps(handler)
    async def call(context: Context, thread_id: str, message_id: str, body: JSON) -> Any:
        given = {name: value for name, value in body.items() if name in REWRITABLE and value is not None}
        rest = {name: value for name, value in body.items() if name not in REWRITABLE}
        if not given:
            return await handler(context, thread_id=thread_id, message_id=message_id, body=rest)
        find = partial(find_child, context, MESSAGES, thread_id, message_id, "message")
        await find()
        # A message made of the request's fields checks them; "-" stands for the content that stays.
        checked = await message_insert(context, thread_id, {"role": "user", "content": "-", **given})
        changes = {name: checked.value[name] for name in given}
        key = Key(context.project, MESSAGES, child_id(thread_id, message_id))
        async with RequestVectorStores(context) as stores:

            async def attempt() -> None:
                thread, message = await free_thread(context, thread_id), await find()
                value = {**message.value, **changes}
                present = thread.value["tool_resources"]
                attached = [Insert(key, value, parent=thread_id)] if "attachments" in given else []
                resources = await stores.attach(present, attached)
                guard: Operation = Check(thread)
                if resources != present:
                    guard = Replace(thread, value={**thread.value, "tool_resources": resources})
                await context.services.store.write(guard, Replace(message, value=value))

            await retry_on_conflict(attempt)
        return await handler(context, thread_id=thread_id, message_id=message_id, body=rest)

    return call


# --- run steps ---


def shows_chunks(handler: Handler) -> Handler:
    """Show the results of file_search, with their text, as `chunks` too."""

    @wraps(handler)
    async def call(context: Context, include: list[str] | None = None, **arguments: Any) -> Any:
        answer = await handler(context, include=include or [RESULTS_CONTENT], **arguments)
        if isinstance(answer, Stream):
            return answer.changed(_event)
        if answer["object"] == "list":
            return {**answer, "data": [_with_chunks(step) for step in answer["data"]]}
        return _with_chunks(answer)

    return call


def changes_events(handler: Handler) -> Handler:
    """Leave out the events of a run on which the client's event handler fails."""

    @wraps(handler)
    async def call(context: Context, **arguments: Any) -> Answer:
        answer: Answer = await handler(context, **arguments)
        return answer.changed(_event) if isinstance(answer, Stream) else answer

    return call


async def _event(event: bytes) -> bytes:
    """Return an event as it is sent; nothing for one that is left out."""
    head, mark, data = event.partition(b"\ndata: ")
    if b"thread.run.step." not in head:
        return event
    value = orjson.loads(data)
    if value["object"] == "thread.run.step.delta":
        calls = value["delta"]["step_details"].get("tool_calls") or ()
        return b"" if any(call["type"] == "file_search" for call in calls) else event
    if value["type"] == "message_creation" and value["status"] == "completed":
        return b""
    return head + mark + orjson.dumps(_with_chunks(value))


def _with_chunks(step: JSON) -> JSON:
    calls = step["step_details"].get("tool_calls") if step["object"] == "thread.run.step" else None
    if not calls:
        return step
    calls = [_call_with_chunks(call) for call in calls]
    return {**step, "step_details": {**step["step_details"], "tool_calls": calls}}


def _call_with_chunks(call: JSON) -> JSON:
    if call["type"] != "file_search":
        return call
    chunks = [
        {
            "file_id": result["file_id"],
            "file_name": result["file_name"],
            "score": result["score"],
            "content": "\n".join(part["text"] for part in result.get("content") or ()),
        }
        for result in call["file_search"].get("results") or ()
    ]
    return {**call, "file_search": {**call["file_search"], "chunks": chunks}}


# --- connections ---


def shares_connections(headers: Mapping[str, str]) -> bool:
    """Return whether a client may use one connection in several event loops, where it breaks.

    The async client of `astra-assistants` looks models up in loops of their own, over the connections of
    the caller's loop; on a connection that is not kept alive nothing is left to share. It needs SDK 1.
    """
    is_async = headers.get("x-stainless-async", "").startswith("async")
    return is_async and headers.get("x-stainless-package-version", "").startswith("1.")


# --- the rules ---

SCHEMA_RULES: tuple[Erratum, ...] = (
    Erratum(
        "messages-are-rewritten",
        "the client's messages.update sends the fields of a new message",
        takes_fields_of("CreateMessageRequest", "ModifyMessageRequest", REWRITABLE),
    ),
    Erratum(
        "threads-as-they-were-answered",
        "applications give create_and_run the whole thread that they were answered",
        takes_unknown_fields(
            "CreateThreadRequest", "CreateThreadAndRunRequest", refused=FIELDS_OF_ONE_VERSION
        ),
    ),
)

HANDLER_RULES: Mapping[str, Callable[[Handler], Handler]] = {
    # Before each run the client reads `embedding_model` of a vector store's first file, without asking
    # whether it is there; a run with file_search fails without it.
    "create_file": shows_embedding_model,
    "retrieve_file": shows_embedding_model,
    "list_files": shows_embedding_model,
    # Applications delete a file before they upload it, as its id was that of its content.
    "delete_file": deletes_unknown,
    # The client's messages.update changes what OpenAI's cannot.
    "modify_message": rewrites,
    # The client's event handler reads `tool_calls` of every step that ends, and `function` of every call
    # in a delta; applications read `file_search.chunks`.
    "create_run": shows_chunks,
    "create_thread_and_run": changes_events,
    "submit_tool_outputs_to_run": changes_events,
    "get_run_events": changes_events,
    "get_run_step": shows_chunks,
    "list_run_steps": shows_chunks,
}


def with_rules(registered: Mapping[str, Registered]) -> dict[str, Registered]:
    """Return the handlers, with the rules that they have."""
    found = dict(registered)
    for name, rule in HANDLER_RULES.items():
        found[name] = replace(found[name], handle=rule(found[name].handle))
    return found
