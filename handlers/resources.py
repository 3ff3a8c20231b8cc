"""What bodies name of other objects: files and vector stores, which must be the caller's own."""

from collections.abc import Iterable
from typing import Any

from astrolabe_server.handlers.context import JSON, Context
from astrolabe_server.handlers.errors import NotFound
from astrolabe_server.persistence.store import Document, Key

FILES, VECTOR_STORES = "files", "vector_stores"
ASSISTANTS, THREADS, MESSAGES, RUNS, STEPS = "assistants", "threads", "messages", "runs", "run_steps"


async def find(context: Context, collection: str, id: str, noun: str, parent: str | None = None) -> Document:
    """One of the caller's objects, of that parent where one is named; NotFound in OpenAI's words."""
    document = await context.services.store.get(Key(context.project, collection, id))
    if document is None or (parent is not None and document.parent != parent):
        raise NotFound(f"No {noun} found with id '{id}'.")
    return document


async def find_assistant(context: Context, id: str) -> Document:
    """The assistant."""
    return await find(context, ASSISTANTS, id, "assistant")


async def find_thread(context: Context, id: str) -> Document:
    """The thread."""
    return await find(context, THREADS, id, "thread")


async def find_run(context: Context, thread_id: str, id: str) -> Document:
    """The run of that thread: one read."""
    return await find(context, RUNS, id, "run", thread_id)


async def check_files(context: Context, fields: Iterable[tuple[str, str]]) -> None:
    """NotFound unless each file, given as (id, the field that names it), is one of the caller's."""
    for id, param in fields:
        if await context.services.store.get(Key(context.project, FILES, id)) is None:
            raise NotFound(f"No such File object: {id}", param=param)


async def checked_tool_resources(
    context: Context, resources: JSON | None, param: str = "tool_resources"
) -> JSON:
    """The `tool_resources` to store, with what they ask to be made; NotFound naming a field."""
    resources = resources or {}
    stored: dict[str, Any] = {}
    code = resources.get("code_interpreter")
    if code is not None:
        file_ids = code.get("file_ids") or []
        field = f"{param}.code_interpreter.file_ids"
        await check_files(context, ((id, f"{field}[{index}]") for index, id in enumerate(file_ids)))
        stored["code_interpreter"] = {"file_ids": file_ids}
    search = resources.get("file_search")
    if search is not None:
        ids = search.get("vector_store_ids") or []
        for index, id in enumerate(ids):
            await _check_vector_store(context, id, f"{param}.file_search.vector_store_ids[{index}]")
        stored["file_search"] = {"vector_store_ids": ids}
    return stored


async def _check_vector_store(context: Context, id: str, param: str) -> None:
    if await context.services.store.get(Key(context.project, VECTOR_STORES, id)) is None:
        raise NotFound(f"No vector store found with id '{id}'.", param=param)
