"""Images that responses have generated: contents of the store, which items name until they are read.

An image has more bytes than an object or an event of the store should have, and its item is stored in the
response, in its events and in its conversation. So stored items have a reference in place of the image, and
clients get the image in place of the reference.
"""

import asyncio
import base64
import contextlib
import re
from typing import Any

from inference.gateway.driver import one_piece
from inference.identifiers import new_id
from inference.retrieval.contents import claim, discard, write_unclaimed
from persistence.collections import CONVERSATIONS, GENERATED_IMAGES, RESPONSES
from persistence.errors import ContentNotFound, VersionConflict
from persistence.store import Delete, Insert, Key, Store
from persistence.types import JSON

REFERENCE = "astrolabe-image:"
"""How a reference begins; the id of the content follows."""

ITEM = "image_generation_call"

_MARK = b'"' + REFERENCE.encode()
_IN_JSON = re.compile(rb'(?:(?<="result":)|(?<="partial_image_b64":))' + _MARK + rb'([A-Za-z0-9_-]{1,64})"')
"""A reference as the value of `result` or of `partial_image_b64`; never a part of a text."""

MOST_BYTES = 32 * 1024 * 1024
"""Bytes of the images of one list or context, as base64."""

UNCLAIMED = 3600.0
"""Seconds after which an image that no response names is deleted."""


class GeneratedImages:
    """The generated images of a store; partial ones are kept for `lifetime` seconds, as events are."""

    def __init__(self, store: Store, lifetime: float) -> None:
        self._store = store
        self._lifetime = lifetime

    async def keep(self, project: str, run: str, conversation: str, data: bytes) -> str:
        """Keep an image as long as its conversation, or else the response `run`; return its reference.

        If one of them was deleted while the image was made, the image is deleted too. A worker that dies in
        between leaves an unclaimed content.
        """
        id = await self._write(project, data, UNCLAIMED)
        value = {"id": id, "content": id, "bytes": len(data)}
        insert = Insert(Key(project, GENERATED_IMAGES, id), value, parent=conversation or run)
        [image] = await self._store.write(insert)
        owners = [Key(project, RESPONSES, run)]
        if conversation:
            owners.append(Key(project, CONVERSATIONS, conversation))
        if None in await asyncio.gather(*map(self._store.get, owners)):
            await discard(self._store, project, id)
            with contextlib.suppress(VersionConflict):  # it was deleted with its owner
                await self._store.write(Delete(image))
        else:
            await self._store.write(claim(project, id))
        return REFERENCE + id

    async def keep_partial(self, project: str, data: bytes) -> str:
        """Keep a partial image as long as the events of its response; return its reference."""
        return REFERENCE + await self._write(project, data, self._lifetime)

    async def read(self, project: str, reference: str) -> bytes | None:
        """Return the image of a reference, None if it was deleted."""
        return await _read(self._store, project, reference.removeprefix(REFERENCE))

    async def _write(self, project: str, data: bytes, lifetime: float) -> str:
        id = new_id("image_")
        await write_unclaimed(self._store, project, one_piece(data), id=id, seconds=lifetime)
        return id


def is_reference(value: Any) -> bool:
    """Return whether an item's result is a reference."""
    return isinstance(value, str) and value.startswith(REFERENCE)


async def with_images(store: Store, project: str, items: list[JSON]) -> list[JSON]:
    """Return the items with images in place of references: the newest ones, up to MOST_BYTES of base64.

    Others, and those that were deleted, have no result.
    """
    if not any(_has_reference(item) for item in items):
        return items
    room, shown = MOST_BYTES, list[JSON]()
    for item in reversed(items):
        if _has_reference(item):
            image = (
                await _encoded(store, project, item["result"].removeprefix(REFERENCE)) if room > 0 else None
            )
            room -= len(image or b"")
            item = {**item, "result": None if image is None else image.decode()}  # noqa: PLW2901
        shown.append(item)
    return shown[::-1]


async def frames_with_images(store: Store, project: str, piece: bytes) -> bytes:
    """Return events of a stream with images in place of references."""
    if _MARK not in piece:
        return piece
    parts: list[bytes] = []
    end = 0
    for found in _IN_JSON.finditer(piece):
        image = await _encoded(store, project, found[1].decode())
        parts += [piece[end : found.start()], b"null" if image is None else b'"%b"' % image]
        end = found.end()
    return b"".join([*parts, piece[end:]])


def _has_reference(item: JSON) -> bool:
    return item.get("type") == ITEM and is_reference(item.get("result"))


async def _encoded(store: Store, project: str, id: str) -> bytes | None:
    data = await _read(store, project, id)
    return None if data is None else await asyncio.to_thread(base64.b64encode, data)


async def _read(store: Store, project: str, id: str) -> bytes | None:
    try:
        return b"".join([piece async for piece in store.read_content(project, id)])
    except ContentNotFound:
        return None
