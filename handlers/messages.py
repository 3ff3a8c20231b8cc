"""Messages: create, retrieve, modify, delete, list."""

import time
from functools import partial
from pathlib import PurePath
from typing import Unpack

from handlers.assistants_v1 import supports_v1
from handlers.context import Context
from handlers.errors import BadRequest
from handlers.image_urls import check_image_url
from handlers.pages import PageQuery, list_page, read_page
from handlers.registry import operation
from handlers.resources import (
    delete_object,
    find_child,
    find_file,
    find_thread,
    update_metadata,
)
from handlers.tool_resources import RequestVectorStores
from inference.assistants.objects import message_object, run_label, text_part
from inference.identifiers import new_id
from inference.images import MAX_IMAGE, SIGNATURE_BYTES, image_type
from inference.parsing import formats
from persistence.collections import MESSAGES
from persistence.errors import ContentNotFound
from persistence.retry import retry_on_conflict
from persistence.store import (
    Check,
    Document,
    Insert,
    Key,
    Operation,
    Replace,
    child_id,
)
from persistence.types import JSON


@operation("createMessage")
@supports_v1
async def create_message(context: Context, thread_id: str, body: JSON) -> JSON:
    """Add a message to a thread that has no active run."""
    insert = await message_insert(context, thread_id, body)
    async with RequestVectorStores(context) as stores:

        async def attempt() -> None:
            thread = await free_thread(context, thread_id)
            present = thread.value["tool_resources"]
            resources = await stores.attach(present, [insert])
            guard: Operation = Check(thread)
            if resources != present:
                guard = Replace(thread, value={**thread.value, "tool_resources": resources})
            await context.services.store.write(guard, insert)

        await retry_on_conflict(attempt)
    return insert.value


async def free_thread(context: Context, thread_id: str) -> Document:
    """Return the thread; raise BadRequest if it has an active run."""
    thread = await find_thread(context, thread_id)
    active = await context.services.runs.active_run(thread)
    if active is not None:
        raise BadRequest(f"Can't add messages to {thread_id} while a run {active} is active.")
    return thread


async def message_insert(context: Context, thread_id: str, body: JSON, param: str = "") -> Insert:
    """Check a message and return the write that adds it; `param` is the prefix of its fields in errors."""
    attachments = body.get("attachments") or []
    for index, attachment in enumerate(attachments):
        await _check_attachment(context, attachment, f"{param}attachments[{index}].file_id")
    value = message_object(
        new_id("msg_"),
        thread_id,
        body["role"],
        await _content(context, body["content"], f"{param}content"),
        now=int(time.time()),
        attachments=attachments,
        metadata=body.get("metadata"),
    )
    key = Key(context.project, MESSAGES, child_id(thread_id, value["id"]))
    return Insert(key, value, parent=thread_id)


async def _check_attachment(context: Context, attachment: JSON, param: str) -> None:
    """Check that the file exists and, if it is attached for file_search, that its text can be read."""
    file = await find_file(context, attachment["file_id"], param)
    searched = any(tool["type"] == "file_search" for tool in attachment.get("tools") or ())
    if not searched or context.assistants_v1:  # the first version attaches each file for every tool
        return
    suffix = PurePath(file.value["filename"]).suffix.lower()
    if suffix in formats.MODULES or suffix in formats.TEXTS:
        return
    is_image = image_type(await _beginning(context, file)) is not None
    if is_image or suffix in formats.UNSUPPORTED:
        shown = f"with the extension {suffix}" if suffix else "of this type"
        raise BadRequest(
            f"Invalid '{param}': files {shown} are not supported by file_search.",
            param=param,
            code="unsupported_file",
        )


async def _beginning(context: Context, file: Document) -> bytes:
    """Return the first bytes of a file, enough to tell an image's type."""
    try:
        pieces = context.services.retrieval.files.read(file, 0, min(SIGNATURE_BYTES, file.value["bytes"]))
        return b"".join([piece async for piece in pieces])
    except ContentNotFound:
        return b""


@operation("getMessage")
@supports_v1
async def get_message(context: Context, thread_id: str, message_id: str) -> JSON:
    """Return the message."""
    return (await _find_message(context, thread_id, message_id)).value


@operation("modifyMessage")
@supports_v1
async def modify_message(context: Context, thread_id: str, message_id: str, body: JSON) -> JSON:
    """Change the metadata."""
    return await update_metadata(context, partial(_find_message, context, thread_id, message_id), body)


@operation("deleteMessage")
async def delete_message(context: Context, thread_id: str, message_id: str) -> JSON:
    """Delete the message."""
    await delete_object(context, partial(_find_message, context, thread_id, message_id))
    return {"id": message_id, "object": "thread.message.deleted", "deleted": True}


@operation("listMessages")
@supports_v1
async def list_messages(
    context: Context,
    thread_id: str,
    run_id: str | None = None,
    **page: Unpack[PageQuery],
) -> JSON:
    """Return a page of the thread's messages, or of one run's."""
    await find_thread(context, thread_id)
    found = await read_page(
        context,
        MESSAGES,
        thread_id,
        label=run_label(run_id) if run_id is not None else None,
        to_id=partial(child_id, thread_id),
        **page,
    )
    return list_page(found)


async def _find_message(context: Context, thread_id: str, message_id: str) -> Document:
    return await find_child(context, MESSAGES, thread_id, message_id, "message")


async def _content(context: Context, content: str | list[JSON], param: str) -> list[JSON]:
    """Return the content as a list of parts; raise BadRequest if one is empty."""
    if isinstance(content, str):
        return [_text(content, param)]
    if not content:
        raise _empty(param)
    return [await _part(context, part, f"{param}[{index}]") for index, part in enumerate(content)]


async def _part(context: Context, part: JSON, param: str) -> JSON:
    match part["type"]:
        case "text":
            return _text(part["text"], f"{param}.text")
        case "image_file":
            image = part["image_file"]
            await _check_image(context, image["file_id"], f"{param}.image_file.file_id")
            return {**part, "image_file": {"detail": "auto", **image}}
        case _:
            image = part["image_url"]
            await check_image_url(image["url"], f"{param}.image_url.url")
            return {**part, "image_url": {"detail": "auto", **image}}


async def _check_image(context: Context, file_id: str, param: str) -> None:
    file = await find_file(context, file_id, param)
    if image_type(await _beginning(context, file)) is None:
        raise BadRequest(
            f"Invalid '{param}': '{file.value['filename']}' is not an image. Supported formats are png, "
            "jpeg, gif and webp.",
            param=param,
            code="invalid_image_format",
        )
    if file.value["bytes"] > MAX_IMAGE:
        message = (
            f"Invalid '{param}': the image has {file.value['bytes']} bytes, and {MAX_IMAGE} are allowed."
        )
        raise BadRequest(message, param=param, code="image_too_large")


def _text(text: str, param: str) -> JSON:
    if not text:
        raise _empty(param)
    return text_part(text)


def _empty(param: str) -> BadRequest:
    return BadRequest("Message content must be non-empty.", param=param, code="invalid_value")
