"""Assistants: create, retrieve, modify, delete, list."""

import time
from functools import partial
from typing import Unpack

import orjson

from handlers.assistants_v1 import supports_v1
from handlers.context import Context
from handlers.errors import BadRequest
from handlers.mcp_tools import refuse_secrets
from handlers.pages import PageQuery, list_page, read_page
from handlers.registry import operation
from handlers.resources import delete_object, find_assistant, update_object
from handlers.tool_resources import RequestVectorStores, check_tool_resources
from inference.defaults import ASSISTANT, SAMPLING, resources_with_defaults, tool_with_defaults
from inference.identifiers import new_id
from persistence.collections import ASSISTANTS
from persistence.store import Document, Insert, Key, Replace
from persistence.types import JSON

OPTIONS = "options"
"""The key of an assistant's state for the sampling parameters that were set; a model gets no others."""

MAX_DEFINITION = 1024 * 1024
"""Bytes of the tools of an assistant or a run as JSON, and of its response format: every event of a run's
status carries them."""


@operation("createAssistant")
@supports_v1
async def create_assistant(context: Context, body: JSON) -> JSON:
    """Create an assistant."""
    check_definitions(body)
    refuse_secrets(body.get("tools") or [])
    value: JSON = {
        "id": new_id("asst_"),
        "object": "assistant",
        "created_at": int(time.time()),
        **ASSISTANT,
    }
    checked = await check_tool_resources(context, body.get("tool_resources"))
    async with RequestVectorStores(context) as stores:
        value, options = _changed(value, {}, body, await stores.make(checked))
        key = Key(context.project, ASSISTANTS, value["id"])
        await context.services.store.write(Insert(key, value, state={OPTIONS: options}))
    return value


@operation("getAssistant")
@supports_v1
async def get_assistant(context: Context, assistant_id: str) -> JSON:
    """Return the assistant."""
    return (await find_assistant(context, assistant_id)).value


@operation("modifyAssistant")
@supports_v1
async def modify_assistant(context: Context, assistant_id: str, body: JSON) -> JSON:
    """Change the fields that the body has; active runs keep what they started with."""
    check_definitions(body)
    refuse_secrets(body.get("tools") or [])
    find = partial(find_assistant, context, assistant_id)
    resources = None

    def change(document: Document) -> Replace:
        value, options = _changed(document.value, document.state[OPTIONS], body, resources)
        return Replace(document, value=value, state={**document.state, OPTIONS: options})

    async with RequestVectorStores(context) as stores:
        if "tool_resources" in body:
            await find()
            resources = await stores.make(await check_tool_resources(context, body["tool_resources"]))
        return (await update_object(context, find, change)).value


@operation("deleteAssistant")
async def delete_assistant(context: Context, assistant_id: str) -> JSON:
    """Delete the assistant; its active runs continue, and its messages stay."""
    await delete_object(context, partial(find_assistant, context, assistant_id))
    return {"id": assistant_id, "object": "assistant.deleted", "deleted": True}


@operation("listAssistants")
@supports_v1
async def list_assistants(context: Context, **page: Unpack[PageQuery]) -> JSON:
    """Return a page of the project's assistants."""
    return list_page(await read_page(context, ASSISTANTS, **page))


def check_definitions(body: JSON) -> None:
    """Raise BadRequest for tools or a response format that are too large to be repeated in events."""
    for name in ("tools", "response_format"):
        size = len(orjson.dumps(body.get(name)))
        if size > MAX_DEFINITION:
            message = f"Invalid '{name}': it has {size} bytes as JSON, and {MAX_DEFINITION} are allowed."
            raise BadRequest(message, param=name, code="object_too_large")


def _changed(value: JSON, options: JSON, body: JSON, resources: JSON | None) -> tuple[JSON, JSON]:
    """Return the assistant with the body's fields, and the sampling parameters that are now set."""
    changed: JSON = {**value, **body}
    for name in SAMPLING:
        if name in body:
            options = {**options, name: body[name]}
            changed[name] = 1.0 if body[name] is None else float(body[name])
    changed["tools"] = [tool_with_defaults(tool) for tool in changed["tools"] or []]
    changed["response_format"] = changed["response_format"] or "auto"
    changed["metadata"] = changed["metadata"] or {}
    resources = {**value["tool_resources"], **(resources or {})}
    changed["tool_resources"] = resources_with_defaults(resources, changed["tools"])
    return changed, {name: each for name, each in options.items() if each is not None}
