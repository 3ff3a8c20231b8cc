"""The Assistants API's first version, at the edge: its requests become the second's, and answers its own.

Between the versions `file_ids` became `tool_resources` and `attachments`, the tool `retrieval` became
`file_search`. Everything behind the handlers knows the second version alone.
"""

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import wraps
from typing import Any

import orjson

from handlers.context import JSON, Answer, Context, Stream

Handler = Callable[..., Awaitable[Any]]

ATTACHED = [{"type": "file_search"}, {"type": "code_interpreter"}]
"""The tools that reach a file of a first version's message."""

LATER_FIELDS = {
    "assistant": ("tool_resources", "top_p", "temperature", "response_format", "reasoning_effort"),
    "thread": ("tool_resources",),
    "thread.message": ("attachments",),
    "thread.run": ("tool_resources", "top_p", "parallel_tool_calls", "reasoning_effort"),
}
"""What the first version's objects do not have."""


def either_version(handler: Handler) -> Handler:
    """A handler of the second version that serves callers of the first too."""
    signature = inspect.signature(handler)

    @wraps(handler)
    async def call(context: Context, *arguments: Any, **fields: Any) -> Any:
        if not context.assistants_v1:
            return await handler(context, *arguments, **fields)
        bound = signature.bind(context, *arguments, **fields).arguments
        if bound.get("body") is not None:
            bound["body"] = second(bound["body"])
        return first(await handler(**bound))

    return call


# --- requests ---


def second(body: JSON) -> JSON:
    """A first version's body as the second has it."""
    body = dict(body)
    if body.get("tools") is not None:
        body["tools"] = [_second_tool(tool) for tool in body["tools"]]
    for name in ("messages", "additional_messages"):
        if body.get(name) is not None:
            body[name] = [second(message) for message in body[name]]
    if body.get("thread") is not None:
        body["thread"] = second(body["thread"])
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


def _second_tool(tool: JSON) -> JSON:
    return {"type": "file_search"} if tool["type"] == "retrieval" else tool


# --- answers ---


def first(answer: Answer) -> Answer:
    """An answer of the second version as the first has it."""
    if isinstance(answer, Stream):
        return Stream(_first_frames(answer.events))
    return first_object(answer) if isinstance(answer, dict) else answer


def first_object(value: JSON) -> JSON:
    """An object, or a list of such."""
    kind = value.get("object", "")
    if kind == "list":
        return {**value, "data": [first_object(each) for each in value["data"]]}
    shown = {name: field for name, field in value.items() if name not in LATER_FIELDS.get(kind, ())}
    if kind in ("assistant", "thread.run"):
        shown["tools"] = [_first_tool(tool) for tool in value["tools"]]
        code = (value["tool_resources"] or {}).get("code_interpreter") or {}
        shown["file_ids"] = code.get("file_ids") or []
    elif kind == "thread.message":
        shown["file_ids"] = [each["file_id"] for each in value["attachments"]]
    elif kind == "thread.run.step" and value["type"] == "tool_calls":
        calls = value["step_details"]["tool_calls"]
        shown["step_details"] = {**value["step_details"], "tool_calls": [_first_call(call) for call in calls]}
    elif kind == "thread.run.step.delta":
        calls = value["delta"]["step_details"]["tool_calls"]
        details = {**value["delta"]["step_details"], "tool_calls": [_first_call(call) for call in calls]}
        shown["delta"] = {"step_details": details}
    return shown


def _first_tool(tool: JSON) -> JSON:
    return {"type": "retrieval"} if tool["type"] == "file_search" else tool


def _first_call(call: JSON) -> JSON:
    if call["type"] != "file_search":
        return call
    rest = {name: field for name, field in call.items() if name != "file_search"}
    return {**rest, "type": "retrieval", "retrieval": {}}


async def _first_frames(frames: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    async with aclosing(_closable(frames)) as source:
        async for piece in source:
            yield b"".join(_first_frame(each) + b"\n\n" for each in piece.split(b"\n\n") if each)


async def _closable(frames: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    async for piece in frames:
        yield piece


def _first_frame(frame: bytes) -> bytes:
    head, mark, data = frame.partition(b"\ndata: ")
    if not data.startswith(b"{"):
        return frame
    return head + mark + orjson.dumps(first_object(orjson.loads(data)))
