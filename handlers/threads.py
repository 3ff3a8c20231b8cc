"""Threads: create, retrieve, modify, delete, list."""

import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Unpack

from handlers.assistants_v1 import supports_v1
from handlers.context import Context
from handlers.messages import message_insert
from handlers.pages import PageQuery, list_page, read_page
from handlers.registry import operation
from handlers.resources import find_thread, update_object
from handlers.tool_resources import RequestVectorStores, ToolResources, check_tool_resources
from inference.assistants.objects import thread_object
from inference.code.code_interpreter import thread_container
from inference.code.errors import ContainerNotFound
from inference.identifiers import new_id
from persistence.collections import THREADS
from persistence.retry import retry_on_conflict
from persistence.store import Document, Insert, Key, Replace
from persistence.types import JSON


@dataclass(frozen=True, slots=True)
class NewThread:
    """A checked thread with its first messages, before anything is written."""

    value: JSON
    resources: ToolResources
    messages: list[Insert]

    async def inserts(self, context: Context, stores: RequestVectorStores) -> tuple[Insert, list[Insert]]:
        """Make the vector stores that the thread needs; return the writes that make it and its messages."""
        resources = await stores.attach(await stores.make(self.resources), self.messages)
        value = {**self.value, "tool_resources": resources}
        return Insert(Key(context.project, THREADS, value["id"]), value), self.messages


@operation("createThread")
@supports_v1
async def create_thread(context: Context, body: JSON | None = None) -> JSON:
    """Create a thread with its first messages."""
    checked = await check_thread(context, body or {})
    async with RequestVectorStores(context) as stores:
        thread, messages = await checked.inserts(context, stores)
        await context.services.store.write(thread, *messages)
    return thread.value


async def check_thread(context: Context, body: JSON, param: str = "") -> NewThread:
    """Check a thread and its first messages; `param` is the prefix of the fields in errors."""
    value = thread_object(new_id("thread_"), now=int(time.time()), metadata=body.get("metadata"))
    resources = await check_tool_resources(context, body.get("tool_resources"), f"{param}tool_resources")
    messages = [
        await message_insert(context, value["id"], message, f"{param}messages[{index}].")
        for index, message in enumerate(body.get("messages") or [])
    ]
    return NewThread(value, resources, messages)


@operation("getThread")
@supports_v1
async def get_thread(context: Context, thread_id: str) -> JSON:
    """Return the thread."""
    return (await find_thread(context, thread_id)).value


@operation("modifyThread")
@supports_v1
async def modify_thread(context: Context, thread_id: str, body: JSON) -> JSON:
    """Change the metadata and the tool resources, also during a run."""
    find = partial(find_thread, context, thread_id)
    changes: JSON = {}
    if "metadata" in body:
        changes["metadata"] = body["metadata"] or {}
    resources: JSON = {}

    def change(document: Document) -> Replace:
        merged = {**document.value["tool_resources"], **resources}
        return Replace(document, value={**document.value, **changes, "tool_resources": merged})

    async with RequestVectorStores(context) as stores:
        if "tool_resources" in body:
            await find()
            resources = await stores.make(await check_tool_resources(context, body["tool_resources"]))
        return (await update_object(context, find, change)).value


@operation("deleteThread")
async def delete_thread(context: Context, thread_id: str) -> JSON:
    """Delete the thread with its messages, runs, steps and container; an active run ends at once."""

    async def attempt() -> None:
        await context.services.runs.delete_thread(await find_thread(context, thread_id))

    await retry_on_conflict(attempt)
    container = thread_container(context.project, thread_id)
    with suppress(ContainerNotFound):  # no code has run
        await context.services.containers.delete(context.project, container)
    return {"id": thread_id, "object": "thread.deleted", "deleted": True}


@operation("listThreads")
@supports_v1
async def list_threads(context: Context, **page: Unpack[PageQuery]) -> JSON:
    """Return a page of the project's threads; OpenAI has no such operation."""
    return list_page(await read_page(context, THREADS, **page))
