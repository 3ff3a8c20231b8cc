"""Version 1 of the Assistants API: requests become version 2's, and version 2's objects are rendered.

In version 2 `file_ids` became `tool_resources` and `attachments`, and the tool `retrieval` became
`file_search`. Only the handlers know version 1; what is stored is version 2's.
"""

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import orjson

from handlers.assistant_files import attached_files, replace_files, resource_files
from handlers.context import Answer, Context, Stream
from handlers.errors import ApiError
from persistence.collections import ASSISTANTS
from persistence.store import Key
from persistence.types import JSON

Handler = Callable[..., Awaitable[Any]]

ATTACHED = [{"type": "file_search"}, {"type": "code_interpreter"}]
"""The tools that get a file of a v1 message."""

LATER_FIELDS = {
    "assistant": {"tool_resources", "top_p", "temperature", "response_format", "reasoning_effort"},
    "thread": {"tool_resources"},
    "thread.message": {"attachments"},
    "thread.run": {"tool_resources", "top_p", "parallel_tool_calls", "reasoning_effort"},
}
"""Fields of version 2 that the objects of version 1 lack."""

LATER_EVENTS = {b"thread.run.incomplete": b"thread.run.completed"}
"""Events of version 2 under the name of version 1, whose SDKs stop at an event they do not know."""

FIELDS = (
    (re.compile(r"tool_resources\.(code_interpreter|file_search\.vector_stores\[0\])\.file_ids"), "file_ids"),
    (re.compile(r"attachments\[(\d+)\]\.file_id"), r"file_ids[\1]"),
)
"""Fields of version 2 in errors, and those of version 1 that they were made from."""


def supports_v1(handler: Handler) -> Handler:
    """Decorate a handler of version 2 to serve callers of version 1 too."""
    signature = inspect.signature(handler)

    @wraps(handler)
    async def call(context: Context, *arguments: Any, **fields: Any) -> Any:
        if not context.assistants_v1:
            return await handler(context, *arguments, **fields)
        bound = signature.bind(context, *arguments, **fields)
        body, assistant = bound.arguments.get("body"), bound.arguments.get("assistant_id")
        try:
            if body is not None:
                if assistant is not None and body.get("file_ids") is not None:
                    resources = await replace_files(context, assistant, body["file_ids"])
                    body = {**body, "file_ids": None, "tool_resources": resources}
                bound.arguments["body"] = from_v1(body)
            return await V1Renderer(context).answer(await handler(*bound.args, **bound.kwargs))
        except ApiError as exc:
            raise _error_to_v1(exc) from exc.__cause__

    return call


# --- requests ---


def from_v1(body: JSON) -> JSON:
    """Convert a v1 body to v2."""
    body = dict(body)
    if body.get("tools") is not None:
        body["tools"] = [_tool_from_v1(tool) for tool in body["tools"]]
    if isinstance(body.get("tool_choice"), dict):
        body["tool_choice"] = _tool_from_v1(body["tool_choice"])
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
    return {**tool, "type": "file_search"} if tool["type"] == "retrieval" else tool


def _error_to_v1(error: ApiError) -> ApiError:
    for later, earlier in FIELDS:
        error.message = later.sub(earlier, error.message)
        error.param = error.param and later.sub(earlier, error.param)
    return error


# --- answers ---


class V1Renderer:
    """Renders the objects of one answer; the files of the same tool resources are read once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._files: dict[bytes, list[str]] = {}

    async def answer(self, answer: Answer) -> Answer:
        """Render an object, a list of objects or a stream of events."""
        if isinstance(answer, Stream):
            return answer.changed(self._frame)
        return await self._object(answer) if isinstance(answer, dict) else answer

    async def _object(self, value: JSON) -> JSON:
        kind = value.get("object", "")
        if kind == "list":
            return {**value, "data": await asyncio.gather(*map(self._object, value["data"]))}
        later = LATER_FIELDS.get(kind, set())
        shown = {name: field for name, field in value.items() if name not in later}
        match kind:
            case "assistant" | "thread.run":
                shown["tools"] = [_tool(tool) for tool in value["tools"]]
                shown["file_ids"] = await self._file_ids(value)
                return _run(shown) if kind == "thread.run" else shown
            case "thread.message":
                shown["content"] = [_part(part) for part in value["content"]]
                shown["file_ids"] = attached_files(value)
            case "thread.message.delta":
                shown["delta"] = {
                    **value["delta"],
                    "content": [_part(each) for each in value["delta"]["content"]],
                }
            case "thread.run.step":
                shown["step_details"] = _details(value["step_details"])
            case "thread.run.step.delta":
                shown["delta"] = {"step_details": _details(value["delta"]["step_details"])}
        return shown

    async def _file_ids(self, value: JSON) -> list[str]:
        """Return the files of an assistant or a run; a run without any uses its assistant's."""
        resources = value["tool_resources"] or {}
        key = orjson.dumps([resources, value.get("assistant_id")])
        if key not in self._files:
            files = await resource_files(self._context, resources)
            if not files and "assistant_id" in value:
                used = Key(self._context.project, ASSISTANTS, value["assistant_id"])
                assistant = await self._context.services.store.get(used)
                files = await self._file_ids(assistant.value) if assistant else []
            self._files[key] = files
        return self._files[key]

    async def _frame(self, frame: bytes) -> bytes:
        head, mark, data = frame.partition(b"\ndata: ")
        if not data.startswith(b"{"):
            return frame
        name, event, kind = head.rpartition(b"event: ")
        head = name + event + LATER_EVENTS.get(kind, kind)
        return head + mark + orjson.dumps(await self._object(orjson.loads(data)))


def _tool(tool: JSON) -> JSON:
    return {"type": "retrieval"} if tool["type"] == "file_search" else tool


def _run(run: JSON) -> JSON:
    """Write what version 1 has no value for as the nearest that it has."""
    choice, form = run["tool_choice"], run["response_format"]
    if isinstance(choice, dict):
        run["tool_choice"] = _tool(choice)
    elif choice == "required":
        run["tool_choice"] = "auto"
    if isinstance(form, dict) and form["type"] == "json_schema":
        run["response_format"] = {"type": "json_object"}
    if run["status"] == "incomplete":  # `incomplete_details` says so
        run["status"] = "completed"
    return run


def _part(part: JSON) -> JSON:
    """Return a part of a message, or of its delta: version 1 has texts and files of images."""
    index = {"index": part["index"]} if "index" in part else {}
    match part["type"]:
        case "text":
            text = part.get("text") or {}
            if not text.get("annotations"):
                return part
            return {
                **part,
                "text": {**text, "annotations": [_annotation(each) for each in text["annotations"]]},
            }
        case "image_file":
            return {**index, "type": "image_file", "image_file": {"file_id": part["image_file"]["file_id"]}}
        case "image_url":
            return {**index, **_text(part["image_url"]["url"])}
        case _:
            return {**index, **_text(part.get("refusal") or "")}


def _text(value: str) -> JSON:
    return {"type": "text", "text": {"value": value, "annotations": []}}


def _annotation(annotation: JSON) -> JSON:
    if annotation["type"] != "file_citation":
        return annotation
    return {**annotation, "file_citation": {"quote": "", **annotation["file_citation"]}}


def _details(details: JSON) -> JSON:
    if details["type"] != "tool_calls":
        return details
    return {**details, "tool_calls": [_call(call) for call in details["tool_calls"]]}


def _call(call: JSON) -> JSON:
    if call["type"] != "file_search":
        return call
    rest = {name: field for name, field in call.items() if name != "file_search"}
    return {**rest, "type": "retrieval", "retrieval": {}}
