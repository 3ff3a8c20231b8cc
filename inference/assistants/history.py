"""A thread's messages as the chat messages that a model reads."""

import re
from collections.abc import AsyncIterator, Iterator

from inference.assistants.renderer import CUT_OFF
from inference.engine.requests import most_tokens
from inference.input_files import InputFiles, image_urls
from persistence.collections import MESSAGES
from persistence.listing import PAGE, pages
from persistence.store import Document, Store
from persistence.types import JSON

SHOWN_IMAGE = "[The image {} was shown to the user.]"
_SHOWN_IMAGE = re.compile(r"\[The image (file-\w+) was shown to the user\.\]")


async def read_history(store: Store, run: JSON, project: str, window: int) -> list[JSON]:
    """Return the messages that the run's truncation strategy keeps as chat messages, oldest first.

    A long thread is read only as far as a context of `window` tokens can hold it.
    """
    strategy = run["truncation_strategy"]
    most = strategy["last_messages"] if strategy["type"] == "last_messages" else None
    newest: list[JSON] = []
    files = InputFiles(store, project)
    room = window
    async for document in _newest_first(store, project, run["thread_id"], most):
        if not _is_shown(document, run["id"]):
            continue
        message = await chat_message(files, document.value)
        newest.append(message)
        room -= max(1, most_tokens([message], 8 * room + 8) // 8)
        if len(newest) == most or room < 0:
            break
    return newest[::-1]


async def _newest_first(store: Store, project: str, thread: str, most: int | None) -> AsyncIterator[Document]:
    limit = min(PAGE, most + 1) if most else PAGE
    async for page in pages(store, project, MESSAGES, thread, limit=limit, order="desc"):
        for document in page:
            yield document


def _is_shown(document: Document, run_id: str) -> bool:
    """Return whether the model sees a message: not those of the run itself, which its turns hold."""
    message = document.value
    return (
        message["run_id"] != run_id
        and message["status"] != "in_progress"
        and not document.state.get(CUT_OFF)
        and bool(message["content"])
    )


async def chat_message(files: InputFiles, message: JSON) -> JSON:
    """Return a stored message as a chat message."""
    parts = [await _chat_part(files, part, message["role"]) for part in message["content"]]
    text_only = all(part["type"] == "text" for part in parts)
    content = "\n".join(part["text"] for part in parts) if text_only else parts
    return {"role": message["role"], "content": content}


async def _chat_part(files: InputFiles, part: JSON, role: str) -> JSON:
    match part["type"]:
        case "text":
            return {"type": "text", "text": part["text"]["value"]}
        case "refusal":
            return {"type": "text", "text": part["refusal"]}
        case "image_url":
            return files.image_by_url(part["image_url"])
        case _ if role == "assistant":  # a model's messages are texts
            return {"type": "text", "text": SHOWN_IMAGE.format(part["image_file"]["file_id"])}
        case _:
            return await files.image_by_id(part["image_file"])


def shown_urls(messages: list[JSON]) -> Iterator[str]:
    """Yield the images of chat messages in their order; those shown to the user as `file:file-…`."""
    for message in messages:
        if message["role"] == "assistant" and isinstance(message["content"], str):
            yield from (f"file:{id}" for id in _SHOWN_IMAGE.findall(message["content"]))
        else:
            yield from image_urls(message)
