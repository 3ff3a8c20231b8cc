"""Uploaded files in chat messages: `file` parts that name one by its id."""

from handlers.context import Context
from handlers.errors import BadRequest
from handlers.resources import find_file
from inference.input_files import MAX_BYTES, InputFiles
from persistence.types import JSON


async def with_files(context: Context, body: JSON) -> JSON:
    """Return the request with the contents of the files that it names, which no provider has.

    A file of text becomes a text, which any model reads. An unknown id is 404.
    """
    messages = body["messages"]
    if not any(_has_ids(message.get("content")) for message in messages):
        return body
    files, room, made = InputFiles(context.services.store, context.project), MAX_BYTES, []
    for place, message in enumerate(messages):
        if not _has_ids(message.get("content")):
            made.append(message)
            continue
        parts: list[JSON] = []
        for index, part in enumerate(message["content"]):
            id = _file_id(part)
            if id is None:
                parts.append(part)
                continue
            param = f"messages[{place}].content[{index}].file.file_id"
            room -= (await find_file(context, id, param)).value["bytes"] * 4 // 3  # as base64
            if room < 0:
                message_text = f"The files of a request have at most {MAX_BYTES * 3 // 4:,} bytes together."
                raise BadRequest(message_text, param=param, code="file_too_large")
            parts.append(await files.file_by_id(id))
        made.append({**message, "content": parts})
    return {**body, "messages": made}


def _has_ids(content: object) -> bool:
    return isinstance(content, list) and any(_file_id(part) is not None for part in content)


def _file_id(part: JSON) -> str | None:
    """Return the id of a part's file; None if it is given by its data."""
    file = part.get("file") if part.get("type") == "file" else None
    id: str | None = (file or {}).get("file_id")
    return id
