"""Files of assistants and of messages: objects of version 1, made of `tool_resources` and `attachments`.

A file of an assistant is in `code_interpreter.file_ids`, in its vector stores, or both; version 1 puts
it into both, and into the first store.
"""

import asyncio
from functools import partial
from typing import Unpack

from handlers.context import Context
from handlers.errors import BadRequest, NotFound
from handlers.pages import PageQuery, list_slice
from handlers.registry import operation
from handlers.resources import find_assistant, find_child, find_file, update_object
from handlers.tool_resources import RequestVectorStores
from inference.retrieval.attachments import vector_store_file_id
from inference.retrieval.errors import ObjectNotFound
from persistence.collections import FILES, MESSAGES, VECTOR_STORE_FILES, VECTOR_STORES
from persistence.retry import retry_on_conflict
from persistence.store import Document, Key, Replace
from persistence.types import JSON

MOST_FILES = 20
"""Files of an assistant in version 1; of one with more, the first are shown."""


async def resource_files(context: Context, resources: JSON, limit: int = MOST_FILES) -> list[str]:
    """Return the ids of the first files of `tool_resources`: those of code_interpreter, then the stores'."""
    ids = dict.fromkeys(_code_files(resources))
    for store in _store_ids(resources):
        page = await context.services.store.page(
            context.project, VECTOR_STORE_FILES, store, limit=limit, order="asc"
        )
        ids |= dict.fromkeys(each.value["id"] for each in page.documents)
    return list(ids)[:limit]


async def replace_files(context: Context, assistant_id: str, file_ids: list[str]) -> JSON:
    """Make an assistant's vector store hold the files of its new `file_ids`; return its `tool_resources`."""
    assistant = await find_assistant(context, assistant_id)
    for index, id in enumerate(file_ids):
        await find_file(context, id, f"file_ids[{index}]")
    resources = assistant.value["tool_resources"]
    present = await resource_files(context, resources, MOST_FILES + 1)
    if len(present) > MOST_FILES:
        raise BadRequest(
            f"Invalid 'file_ids': assistant '{assistant_id}' has more than {MOST_FILES} files. Change its "
            "'tool_resources' with the header OpenAI-Beta: assistants=v2.",
            param="file_ids",
        )
    for id in present:
        if id not in file_ids:
            await _detach(context, resources, id)
    kept = [id for id in _store_ids(resources) if await _has_store(context, id)]
    async with RequestVectorStores(context) as stores:
        attached = await stores.attach_files({"file_search": {"vector_store_ids": kept}}, file_ids)
    return {**attached, "code_interpreter": {"file_ids": file_ids}}


async def _has_store(context: Context, id: str) -> bool:
    return await context.services.store.get(Key(context.project, VECTOR_STORES, id)) is not None


# --- files of assistants ---


@operation("createAssistantFile")
async def create_assistant_file(context: Context, assistant_id: str, body: JSON) -> JSON:
    """Give a file to an assistant's tools."""
    file_id = body["file_id"]

    async def attempt(stores: RequestVectorStores) -> Document:
        assistant = await find_assistant(context, assistant_id)
        await find_file(context, file_id, "file_id")
        resources = assistant.value["tool_resources"]
        present = await resource_files(context, resources)
        if len(present) == MOST_FILES and file_id not in present:
            raise BadRequest(
                f"Invalid 'file_id': assistant '{assistant_id}' has {MOST_FILES} files already; remove one.",
                param="file_id",
            )
        value = {**assistant.value, "tool_resources": await stores.attach_files(resources, [file_id])}
        return (await context.services.store.write(Replace(assistant, value=value)))[0]

    async with RequestVectorStores(context) as stores:
        changed = await retry_on_conflict(partial(attempt, stores))
    return await _assistant_file(context, changed, file_id)


@operation("getAssistantFile")
async def get_assistant_file(context: Context, assistant_id: str, file_id: str) -> JSON:
    """Return the file of the assistant."""
    return await _assistant_file(context, await find_assistant(context, assistant_id), file_id)


@operation("listAssistantFiles")
async def list_assistant_files(context: Context, assistant_id: str, **page: Unpack[PageQuery]) -> JSON:
    """Return a page of the assistant's files."""
    assistant = await find_assistant(context, assistant_id)
    resources = assistant.value["tool_resources"]
    ids = await resource_files(context, resources)
    found = await asyncio.gather(*(_created_at(context, resources, id) for id in ids))
    files = [_shown(assistant_id, id, at) for id, at in zip(ids, found, strict=True) if at is not None]
    return list_slice(sorted(files, key=lambda file: file["created_at"]), **page)


@operation("deleteAssistantFile")
async def delete_assistant_file(context: Context, assistant_id: str, file_id: str) -> JSON:
    """Take a file from an assistant; the file itself stays."""
    find = partial(find_assistant, context, assistant_id)
    assistant = await find()
    await _assistant_file(context, assistant, file_id)
    await _detach(context, assistant.value["tool_resources"], file_id)

    def change(document: Document) -> Replace | None:
        resources = document.value["tool_resources"]
        kept = [id for id in _code_files(resources) if id != file_id]
        if len(kept) == len(_code_files(resources)):
            return None
        changed = {**resources, "code_interpreter": {"file_ids": kept}}
        return Replace(document, value={**document.value, "tool_resources": changed})

    await update_object(context, find, change)
    return {"id": file_id, "object": "assistant.file.deleted", "deleted": True}


async def _assistant_file(context: Context, assistant: Document, file_id: str) -> JSON:
    at = await _created_at(context, assistant.value["tool_resources"], file_id)
    if at is None:
        raise NotFound(f"No file found with id '{file_id}' of assistant '{assistant.id}'.", param="file_id")
    return _shown(assistant.id, file_id, at)


def _shown(assistant_id: str, file_id: str, created_at: int) -> JSON:
    return {
        "id": file_id,
        "object": "assistant.file",
        "created_at": created_at,
        "assistant_id": assistant_id,
    }


async def _created_at(context: Context, resources: JSON, file_id: str) -> int | None:
    """Return when a file was put into a store of the resources, or uploaded; None if it is in neither."""
    keys = [
        Key(context.project, VECTOR_STORE_FILES, vector_store_file_id(store, file_id))
        for store in _store_ids(resources)
    ]
    if file_id in _code_files(resources):
        keys.append(Key(context.project, FILES, file_id))
    for key in keys:
        document = await context.services.store.get(key)
        if document is not None:
            return int(document.value["created_at"])
    return None


async def _detach(context: Context, resources: JSON, file_id: str) -> None:
    """Take a file out of the resources' vector stores."""
    for store in _store_ids(resources):
        try:
            await context.services.retrieval.vector_store_files.detach(context.project, store, file_id)
        except ObjectNotFound:
            continue


def _code_files(resources: JSON) -> list[str]:
    return (resources.get("code_interpreter") or {}).get("file_ids") or []


def _store_ids(resources: JSON) -> list[str]:
    return (resources.get("file_search") or {}).get("vector_store_ids") or []


# --- files of messages ---


@operation("getMessageFile")
async def get_message_file(context: Context, thread_id: str, message_id: str, file_id: str) -> JSON:
    """Return a file that the message attaches."""
    for file in await _message_files(context, thread_id, message_id):
        if file["id"] == file_id:
            return file
    raise NotFound(f"No file found with id '{file_id}' of message '{message_id}'.", param="file_id")


@operation("listMessageFiles")
async def list_message_files(
    context: Context, thread_id: str, message_id: str, **page: Unpack[PageQuery]
) -> JSON:
    """Return a page of the files that the message attaches."""
    return list_slice(await _message_files(context, thread_id, message_id), **page)


async def _message_files(context: Context, thread_id: str, message_id: str) -> list[JSON]:
    message = (await find_child(context, MESSAGES, thread_id, message_id, "message")).value
    return [
        {
            "id": id,
            "object": "thread.message.file",
            "created_at": message["created_at"],
            "message_id": message_id,
        }
        for id in attached_files(message)
    ]


def attached_files(message: JSON) -> list[str]:
    """Return the ids of the files that a message attaches, each once."""
    return list(dict.fromkeys(each["file_id"] for each in message["attachments"]))
