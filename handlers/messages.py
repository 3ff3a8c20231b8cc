"""Messages: create, retrieve, modify, delete, list."""

import re
import time
from functools import partial
from typing import Unpack
from urllib.parse import urlsplit

from handlers.assistants_v1 import either_version
from handlers.context import Context
from handlers.errors import BadRequest
from handlers.pages import PageQuery, list_envelope, read_page
from handlers.registry import operation
from handlers.resources import (
    MESSAGES,
    check_files,
    delete_object,
    find_beside,
    find_thread,
    modify_metadata,
    with_attachments,
)
from inference.assistants.objects import message_object, run_label, text_part
from inference.identifiers import new_id
from persistence.errors import VersionConflict
from persistence.store import (
    Check,
    Document,
    Insert,
    Key,
    Operation,
    Replace,
    beside,
)
from persistence.types import JSON

IMAGE_URL = re.compile(
    r"(?:https?://|data:image/)(?:[\w\-.~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+", re.ASCII
)

MAX_TEXT = 256_000
"""Characters of one text."""


@operation("createMessage")
@either_version
async def create_message(context: Context, thread_id: str, body: JSON) -> JSON:
    """Add a message to a thread of which no run is active."""
    insert = await message_insert(context, thread_id, body)
    while True:
        thread = await find_thread(context, thread_id)
        active = await context.services.runs.active_run(thread)
        if active is not None:
            raise BadRequest(f"Can't add messages to {thread_id} while a run {active} is active.")
        resources = await with_attachments(context, thread.value["tool_resources"], [insert])
        held: Operation = Check(thread)
        if resources != thread.value["tool_resources"]:
            held = Replace(thread, value={**thread.value, "tool_resources": resources})
        try:
            await context.services.store.write(held, insert)
        except VersionConflict:
            continue
        return insert.value


async def message_insert(context: Context, thread_id: str, body: JSON, param: str = "") -> Insert:
    """The write that adds a message; `param` leads to the body's fields."""
    attachments = body.get("attachments") or []
    await check_files(
        context,
        (
            (each["file_id"], f"{param}attachments[{index}].file_id")
            for index, each in enumerate(attachments)
            if "file_id" in each
        ),
    )
    value = message_object(
        new_id("msg_"),
        thread_id,
        body["role"],
        await _content(context, body["content"], f"{param}content"),
        now=int(time.time()),
        attachments=attachments,
        metadata=body.get("metadata") or {},
    )
    key = Key(context.project, MESSAGES, beside(thread_id, value["id"]))
    return Insert(key, value, parent=thread_id)


@operation("getMessage")
@either_version
async def get_message(context: Context, thread_id: str, message_id: str) -> JSON:
    """The message."""
    return (await _find_message(context, thread_id, message_id)).value


@operation("modifyMessage")
@either_version
async def modify_message(context: Context, thread_id: str, message_id: str, body: JSON) -> JSON:
    """Change the metadata."""
    return await modify_metadata(context, partial(_find_message, context, thread_id, message_id), body)


@operation("deleteMessage")
async def delete_message(context: Context, thread_id: str, message_id: str) -> JSON:
    """Forget the message."""
    await delete_object(context, partial(_find_message, context, thread_id, message_id))
    return {"id": message_id, "object": "thread.message.deleted", "deleted": True}


@operation("listMessages")
@either_version
async def list_messages(
    context: Context,
    thread_id: str,
    run_id: str | None = None,
    **page: Unpack[PageQuery],
) -> JSON:
    """A page of the thread's messages, of one run where one is named."""
    await find_thread(context, thread_id)
    found = await read_page(
        context,
        MESSAGES,
        thread_id,
        label=run_label(run_id) if run_id is not None else None,
        to_id=partial(beside, thread_id),
        **page,
    )
    return list_envelope(found)


async def _find_message(context: Context, thread_id: str, message_id: str) -> Document:
    return await find_beside(context, MESSAGES, thread_id, message_id, "message")


async def _content(context: Context, content: str | list[JSON], param: str) -> list[JSON]:
    """Content as it is stored: parts, of which none is empty."""
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
            await check_files(context, [(image["file_id"], f"{param}.image_file.file_id")])
            return {**part, "image_file": {"detail": "auto", **image}}
        case _:
            image = part["image_url"]
            _check_url(image["url"], f"{param}.image_url.url")
            return {**part, "image_url": {"detail": "auto", **image}}


def _text(text: str, param: str) -> JSON:
    if not text:
        raise _empty(param)
    if len(text) > MAX_TEXT:
        raise BadRequest(
            f"Invalid '{param}': string too long. Expected a string with maximum length {MAX_TEXT}, but "
            f"got a string with length {len(text)} instead.",
            param=param,
            code="string_above_max_length",
        )
    return text_part(text)


def _check_url(url: str, param: str) -> None:
    try:
        urlsplit(url)
        valid = IMAGE_URL.fullmatch(url) is not None
    except ValueError:  # brackets that hold no address
        valid = False
    if not valid:
        message = f"Invalid '{param}': expected a valid URL, of http, https or data."
        raise BadRequest(message, param=param, code="invalid_url")


def _empty(param: str) -> BadRequest:
    return BadRequest("Message content must be non-empty.", param=param, code="invalid_value")
