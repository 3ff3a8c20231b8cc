"""Threads: create, retrieve, modify, delete, list."""

import time
from typing import Unpack

from handlers.assistants_v1 import either_version
from handlers.context import Context
from handlers.messages import message_insert
from handlers.pages import PageQuery, list_envelope, read_page
from handlers.registry import operation
from handlers.resources import (
    MESSAGES,
    RUNS,
    STEPS,
    THREADS,
    checked_tool_resources,
    find_thread,
    with_attachments,
)
from inference.assistants.objects import thread_object
from inference.identifiers import new_id
from persistence.errors import VersionConflict
from persistence.store import Clear, Delete, Document, Insert, Key, Replace
from persistence.types import JSON


@operation("createThread")
@either_version
async def create_thread(context: Context, body: JSON | None = None) -> JSON:
    """Make a thread, with the messages that it begins with."""
    thread, messages = await thread_inserts(context, body or {})
    await context.services.store.write(thread, *messages)
    return thread.value


async def thread_inserts(context: Context, body: JSON, param: str = "") -> tuple[Insert, list[Insert]]:
    """The writes that make a thread and its first messages; `param` leads to the body's fields."""
    value = thread_object(
        new_id("thread_"),
        now=int(time.time()),
        metadata=body.get("metadata") or {},
        tool_resources=await checked_tool_resources(
            context, body.get("tool_resources"), f"{param}tool_resources"
        ),
    )
    messages = [
        await message_insert(context, value["id"], message, f"{param}messages[{index}].")
        for index, message in enumerate(body.get("messages") or [])
    ]
    value["tool_resources"] = await with_attachments(context, value["tool_resources"], messages)
    return Insert(Key(context.project, THREADS, value["id"]), value), messages


@operation("getThread")
@either_version
async def get_thread(context: Context, thread_id: str) -> JSON:
    """The thread."""
    return (await find_thread(context, thread_id)).value


@operation("modifyThread")
@either_version
async def modify_thread(context: Context, thread_id: str, body: JSON) -> JSON:
    """Change the metadata and tool resources, also while a run goes on."""
    while True:
        document = await find_thread(context, thread_id)
        value = dict(document.value)
        if "metadata" in body:
            value["metadata"] = body["metadata"] or {}
        if "tool_resources" in body:
            resources = await checked_tool_resources(context, body["tool_resources"])
            value["tool_resources"] = {**value["tool_resources"], **resources}
        try:
            return (await context.services.store.write(Replace(document, value=value)))[0].value
        except VersionConflict:
            continue


@operation("deleteThread")
async def delete_thread(context: Context, thread_id: str) -> JSON:
    """Forget the thread with its messages, runs and steps; a run that goes on ends at once."""
    store, project = context.services.store, context.project
    while True:
        thread = await find_thread(context, thread_id)
        await _clear_steps(context, thread)
        try:
            await store.write(
                Delete(thread),
                Clear(project, MESSAGES, thread_id),
                Clear(project, RUNS, thread_id),
                *context.services.runs.abandon(thread),
            )
        except VersionConflict:
            continue
        return {"id": thread_id, "object": "thread.deleted", "deleted": True}


async def _clear_steps(context: Context, thread: Document) -> None:
    """Forget the steps first, while the runs that lead to them are there."""
    store, after, more = context.services.store, None, True
    while more:
        page = await store.page(context.project, RUNS, thread.id, after=after, limit=100, order="asc")
        if page.documents:
            await store.write(*(Clear(context.project, STEPS, run.id) for run in page.documents))
            after = page.documents[-1].id
        more = page.has_more


@operation("listThreads")
@either_version
async def list_threads(context: Context, **page: Unpack[PageQuery]) -> JSON:
    """A page of the project's threads; an operation of our own."""
    return list_envelope(await read_page(context, THREADS, **page))
