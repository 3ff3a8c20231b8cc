"""The caller's own objects: found, changed and forgotten, and those that bodies name."""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

from handlers.context import Context
from handlers.errors import NotFound
from inference.retrieval.chunking import parse_chunking
from inference.retrieval.members import Attachment
from persistence.errors import VersionConflict
from persistence.store import Delete, Document, Insert, Key, Replace, beside
from persistence.types import JSON

Find = Callable[[], Awaitable[Document]]
"""Reads an object anew; NotFound once it is gone."""

FILES = "files"
ASSISTANTS, THREADS, MESSAGES, RUNS, STEPS = "assistants", "threads", "messages", "runs", "run_steps"


async def _find(context: Context, collection: str, id: str, noun: str, parent: str | None = None) -> Document:
    """One of the caller's objects, of that parent where one is named; NotFound in OpenAI's words."""
    document = await context.services.store.get(Key(context.project, collection, id))
    if document is None or (parent is not None and document.parent != parent):
        raise NotFound(f"No {noun} found with id '{id}'.")
    return document


async def find_beside(context: Context, collection: str, parent: str, id: str, noun: str) -> Document:
    """One of the caller's objects that is kept with its parent; NotFound in OpenAI's words."""
    document = await context.services.store.get(Key(context.project, collection, beside(parent, id)))
    if document is None:
        raise NotFound(f"No {noun} found with id '{id}'.")
    return document


async def find_assistant(context: Context, id: str) -> Document:
    """The assistant."""
    return await _find(context, ASSISTANTS, id, "assistant")


async def find_thread(context: Context, id: str) -> Document:
    """The thread."""
    return await _find(context, THREADS, id, "thread")


async def find_run(context: Context, thread_id: str, id: str) -> Document:
    """The run of that thread: one read."""
    return await _find(context, RUNS, id, "run", thread_id)


async def modify_metadata(context: Context, find: Find, body: JSON) -> JSON:
    """An object with the metadata that the body has, whatever somebody else changes meanwhile."""
    while True:
        document = await find()
        if "metadata" not in body:
            return document.value
        value = {**document.value, "metadata": body["metadata"] or {}}
        with suppress(VersionConflict):
            return (await context.services.store.write(Replace(document, value=value)))[0].value


async def delete_object(context: Context, find: Find) -> None:
    """Delete an object, whatever somebody else changes meanwhile."""
    while True:
        with suppress(VersionConflict):
            await context.services.store.write(Delete(await find()))
            return


async def check_files(context: Context, fields: Iterable[tuple[str, str]]) -> None:
    """NotFound unless each file, given as (id, the field that names it), is one of the caller's."""
    for id, param in fields:
        if await context.services.store.get(Key(context.project, FILES, id)) is None:
            raise NotFound(f"No such File object: {id}", param=param)


async def checked_tool_resources(
    context: Context, resources: JSON | None, param: str = "tool_resources"
) -> JSON:
    """The `tool_resources` to store, with the vector stores that they ask to be made.

    NotFound or BadRequest name the field that is at fault.
    """
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
        ids = await _vector_stores(context, search, f"{param}.file_search")
        stored["file_search"] = {"vector_store_ids": ids}
    return stored


async def _vector_stores(context: Context, search: JSON, param: str) -> list[str]:
    retrieval = context.services.retrieval
    ids = list(search.get("vector_store_ids") or [])
    for index, id in enumerate(ids):
        await retrieval.vector_stores.get(context.project, id, f"{param}.vector_store_ids[{index}]")
    for index, made in enumerate(search.get("vector_stores") or []):
        field = f"{param}.vector_stores[{index}]"
        chunking = parse_chunking(made.get("chunking_strategy"), f"{field}.chunking_strategy")
        attachments = [
            Attachment(file, chunking=chunking, param=f"{field}.file_ids[{number}]")
            for number, file in enumerate(made.get("file_ids") or ())
        ]
        metadata = made.get("metadata") or {}
        document = await retrieval.create_vector_store(context.project, attachments, metadata=metadata)
        ids.append(document.id)
    return ids


async def with_attachments(context: Context, resources: JSON, messages: Iterable[Insert]) -> JSON:
    """A thread's `tool_resources` once the files that messages attach are in reach of its tools."""
    files: dict[str, list[str]] = {"file_search": [], "code_interpreter": []}
    for message in messages:
        for attachment in message.value["attachments"]:
            for tool in attachment.get("tools") or ():
                files[tool["type"]].append(attachment["file_id"])
    changed = dict(resources)
    if files["code_interpreter"]:
        present = (resources.get("code_interpreter") or {}).get("file_ids") or []
        changed["code_interpreter"] = {
            "file_ids": list(dict.fromkeys([*present, *files["code_interpreter"]]))
        }
    if files["file_search"]:
        ids = (resources.get("file_search") or {}).get("vector_store_ids") or [None]
        id = await context.services.retrieval.attach_files(context.project, ids[0], files["file_search"])
        changed["file_search"] = {"vector_store_ids": [id, *ids[1:]]}
    return changed
