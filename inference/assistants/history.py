"""A thread's messages as the chat messages that a model reads."""

import asyncio
import base64
from collections.abc import AsyncIterator

from inference.assistants.renderer import CUT_OFF
from inference.engine.requests import most_tokens
from inference.images import SIGNATURE_BYTES, image_type
from persistence.collections import FILES, MESSAGES
from persistence.errors import ContentNotFound
from persistence.store import Document, Key, Store
from persistence.types import JSON

PAGE = 100

MAX_IMAGES = 32 * 1024 * 1024
"""Bytes of the images in a run's request as it is sent, the newest first: as many as a body here may have."""

LEFT_OUT = {"type": "text", "text": "[An image is left out: the request has too many bytes of images.]"}


async def read_history(store: Store, run: JSON, project: str, window: int) -> list[JSON]:
    """Return the messages that the run's truncation strategy keeps as chat messages, oldest first.

    A long thread is read only as far as a context of `window` tokens can hold it.
    """
    strategy = run["truncation_strategy"]
    most = strategy["last_messages"] if strategy["type"] == "last_messages" else None
    newest: list[JSON] = []
    images = Images(store, project)
    room = window
    async for document in _newest_first(store, project, run["thread_id"], most):
        if not _is_shown(document, run["id"]):
            continue
        message = await chat_message(images, document.value)
        newest.append(message)
        room -= max(1, most_tokens(message) // 8)
        if len(newest) == most or room < 0:
            break
    return newest[::-1]


async def _newest_first(store: Store, project: str, thread: str, most: int | None) -> AsyncIterator[Document]:
    after: str | None = None
    limit = min(PAGE, most + 1) if most else PAGE
    while True:
        page = await store.page(project, MESSAGES, thread, after=after, limit=limit, order="desc")
        for document in page.documents:
            yield document
        if not page.has_more:
            return
        after, limit = page.documents[-1].id, PAGE


def _is_shown(document: Document, run_id: str) -> bool:
    """Return whether the model sees a message: not those of the run itself, which its turns hold."""
    message = document.value
    return (
        message["run_id"] != run_id
        and message["status"] != "in_progress"
        and not document.state.get(CUT_OFF)
        and bool(message["content"])
    )


class Images:
    """The images of a request, up to so many bytes: those that are asked for first."""

    def __init__(self, store: Store, project: str) -> None:
        self._store = store
        self._project = project
        self._room = MAX_IMAGES

    def by_url(self, image: JSON) -> JSON:
        """Return an image that is given by its URL."""
        return {"type": "image_url", "image_url": image} if self._fits(len(image["url"])) else LEFT_OUT

    async def by_file(self, image: JSON) -> JSON:
        """Return an uploaded image as a data URL, a deleted one as a text that says so."""
        document = await self._store.get(Key(self._project, FILES, image["file_id"]))
        gone = {"type": "text", "text": f"[The image {image['file_id']} was deleted.]"}
        if document is None:
            return gone
        if not self._fits(document.value["bytes"] * 4 // 3):  # as base64
            return LEFT_OUT
        content = self._store.read_content(self._project, document.state["content"])
        try:
            data = b"".join([piece async for piece in content])
        except ContentNotFound:
            return gone
        url = await asyncio.to_thread(_data_url, data)
        return {"type": "image_url", "image_url": {"url": url, "detail": image.get("detail") or "auto"}}

    def _fits(self, size: int) -> bool:
        if size > self._room:
            return False
        self._room -= size
        return True


async def chat_message(images: Images, message: JSON) -> JSON:
    """Return a stored message as a chat message."""
    parts = [await _chat_part(images, part) for part in message["content"]]
    text_only = all(part["type"] == "text" for part in parts)
    content = "\n".join(part["text"] for part in parts) if text_only else parts
    return {"role": message["role"], "content": content}


async def _chat_part(images: Images, part: JSON) -> JSON:
    match part["type"]:
        case "text":
            return {"type": "text", "text": part["text"]["value"]}
        case "refusal":
            return {"type": "text", "text": part["refusal"]}
        case "image_url":
            return images.by_url(part["image_url"])
        case _:
            return await images.by_file(part["image_file"])


def _data_url(data: bytes) -> str:
    kind = image_type(data[:SIGNATURE_BYTES]) or "image/png"
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
