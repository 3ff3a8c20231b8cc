"""Version 1 of the Assistants API, converted to and from version 2.

In version 2 `file_ids` became `tool_resources` and `attachments`, and the tool `retrieval` became
`file_search`. Only the handlers know version 1.
"""

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import wraps
from typing import Any

import orjson

from handlers.context import Answer, Context, Stream
from persistence.types import JSON

Handler = Callable[..., Awaitable[Any]]

ATTACHED = [{"type": "file_search"}, {"type": "code_interpreter"}]
"""The tools that get a file of a v1 message."""

LATER_FIELDS = {
    "assistant": ("tool_resources", "top_p", "temperature", "response_format", "reasoning_effort"),
    "thread": ("tool_resources",),
    "thread.message": ("attachments",),
    "thread.run": ("tool_resources", "top_p", "parallel_tool_calls", "reasoning_effort"),
}
"""Fields of version 2 that the objects of version 1 lack."""


def supports_v1(handler: Handler) -> Handler:
    """Decorate a handler of version 2 to serve callers of version 1 too."""
    signature = inspect.signature(handler)

    @wraps(handler)
    async def call(context: Context, *arguments: Any, **fields: Any) -> Any:
        if not context.assistants_v1:
            return await handler(context, *arguments, **fields)
        bound = signature.bind(context, *arguments, **fields)
        if bound.arguments.get("body") is not None:
            bound.arguments["body"] = from_v1(bound.arguments["body"])
        return to_v1(await handler(*bound.args, **bound.kwargs))

    return call


# --- requests ---


def from_v1(body: JSON) -> JSON:
    """Convert a v1 body to v2."""
    body = dict(body)
    if body.get("tools") is not None:
        body["tools"] = [_tool_from_v1(tool) for tool in body["tools"]]
    for name in ("messages", "additional_messages"):
        if body.get(name) is not None:
            body[name] = [from_v1(message) for message in body[name]]
    if body.get("thread") is not None:
        body["thread"] = from_v1(body["thread"])
    file_ids = body.pop("file_ids", None)
    if file_ids is None:
        return body
    if "role" in body:
        body["attachments"] = [{"file_id": id, "tools": ATTACHED} for id in file_ids]
    else:
        body["tool_resources"] = {
            "code_interpreter": {"file_ids": file_ids},
            "file_search": {"vector_stores": [{"file_ids": file_ids}] if file_ids else []},
        }
    return body


def _tool_from_v1(tool: JSON) -> JSON:
    return {"type": "file_search"} if tool["type"] == "retrieval" else tool


# --- answers ---


def to_v1(answer: Answer) -> Answer:
    """Convert a v2 answer to v1."""
    if isinstance(answer, Stream):
        return replace(answer, events=_frames_to_v1(answer.events))
    return object_to_v1(answer) if isinstance(answer, dict) else answer


def object_to_v1(value: JSON) -> JSON:
    """Convert an object, or a list of objects."""
    kind = value.get("object", "")
    if kind == "list":
        return {**value, "data": [object_to_v1(each) for each in value["data"]]}
    shown = {name: field for name, field in value.items() if name not in LATER_FIELDS.get(kind, ())}
    if kind in ("assistant", "thread.run"):
        shown["tools"] = [_tool_to_v1(tool) for tool in value["tools"]]
        code = (value["tool_resources"] or {}).get("code_interpreter") or {}
        shown["file_ids"] = code.get("file_ids") or []
    elif kind == "thread.message":
        shown["file_ids"] = [each["file_id"] for each in value["attachments"]]
    elif kind == "thread.run.step" and value["type"] == "tool_calls":
        calls = value["step_details"]["tool_calls"]
        shown["step_details"] = {**value["step_details"], "tool_calls": [_call_to_v1(call) for call in calls]}
    elif kind == "thread.run.step.delta":
        calls = value["delta"]["step_details"]["tool_calls"]
        details = {**value["delta"]["step_details"], "tool_calls": [_call_to_v1(call) for call in calls]}
        shown["delta"] = {"step_details": details}
    return shown


def _tool_to_v1(tool: JSON) -> JSON:
    return {"type": "retrieval"} if tool["type"] == "file_search" else tool


def _call_to_v1(call: JSON) -> JSON:
    if call["type"] != "file_search":
        return call
    rest = {name: field for name, field in call.items() if name != "file_search"}
    return {**rest, "type": "retrieval", "retrieval": {}}


async def _frames_to_v1(frames: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    async with aclosing(_closable(frames)) as source:
        async for piece in source:
            yield b"".join(_frame_to_v1(each) + b"\n\n" for each in piece.split(b"\n\n") if each)


async def _closable(frames: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    async for piece in frames:
        yield piece


def _frame_to_v1(frame: bytes) -> bytes:
    head, mark, data = frame.partition(b"\ndata: ")
    if not data.startswith(b"{"):
        return frame
    return head + mark + orjson.dumps(object_to_v1(orjson.loads(data)))
