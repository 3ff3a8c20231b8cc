"""Assistants: create, retrieve, modify, delete, list."""

import time
from functools import partial
from typing import Any, Unpack

from handlers.assistants_v1 import either_version
from handlers.context import Context
from handlers.pages import PageQuery, list_envelope, read_page
from handlers.registry import operation
from handlers.resources import ASSISTANTS, checked_tool_resources, delete_object, find_assistant
from inference.identifiers import new_id
from persistence.errors import VersionConflict
from persistence.store import Insert, Key, Replace
from persistence.types import JSON

OPTIONS = "options"
"""State of an assistant: the sampling parameters that its maker has set; others are not sent."""

SAMPLING = ("temperature", "top_p")


@operation("createAssistant")
@either_version
async def create_assistant(context: Context, body: JSON) -> JSON:
    """Make an assistant."""
    value: JSON = {
        "id": new_id("asst_"),
        "object": "assistant",
        "created_at": int(time.time()),
        "name": None,
        "description": None,
        "instructions": None,
        "reasoning_effort": None,
        "tools": [],
        "tool_resources": {},
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
        "response_format": "auto",
    }
    value, options = await _changed(context, value, {}, body)
    key = Key(context.project, ASSISTANTS, value["id"])
    await context.services.store.write(Insert(key, value, state={OPTIONS: options}))
    return value


@operation("getAssistant")
@either_version
async def get_assistant(context: Context, assistant_id: str) -> JSON:
    """The assistant."""
    return (await find_assistant(context, assistant_id)).value


@operation("modifyAssistant")
@either_version
async def modify_assistant(context: Context, assistant_id: str, body: JSON) -> JSON:
    """Change the fields that the body has; runs that go on keep what they began with."""
    while True:
        document = await find_assistant(context, assistant_id)
        value, options = await _changed(context, document.value, document.state[OPTIONS], body)
        change = Replace(document, value=value, state={**document.state, OPTIONS: options})
        try:
            return (await context.services.store.write(change))[0].value
        except VersionConflict:
            continue


@operation("deleteAssistant")
async def delete_assistant(context: Context, assistant_id: str) -> JSON:
    """Forget the assistant; its runs go on, and its messages stay."""
    await delete_object(context, partial(find_assistant, context, assistant_id))
    return {"id": assistant_id, "object": "assistant.deleted", "deleted": True}


@operation("listAssistants")
@either_version
async def list_assistants(context: Context, **page: Unpack[PageQuery]) -> JSON:
    """A page of the project's assistants."""
    return list_envelope(await read_page(context, ASSISTANTS, **page))


async def _changed(context: Context, value: JSON, options: JSON, body: JSON) -> tuple[JSON, JSON]:
    """The assistant with the body's fields in it, and the sampling parameters that are set then."""
    changed: dict[str, Any] = {**value, **body}
    for name in SAMPLING:
        if name in body:
            options = {**options, name: body[name]}
            changed[name] = 1.0 if body[name] is None else float(body[name])
    changed["tools"] = changed["tools"] or []
    changed["response_format"] = changed["response_format"] or "auto"
    if "metadata" in body:
        changed["metadata"] = body["metadata"] or {}
    if "tool_resources" in body:
        resources = await checked_tool_resources(context, body["tool_resources"])
        changed["tool_resources"] = {**value["tool_resources"], **resources}
    return changed, {name: each for name, each in options.items() if each is not None}
