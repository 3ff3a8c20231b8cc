"""Images and files of a request, as the parts of chat messages that carry them."""

import asyncio
import base64
import mimetypes
from collections.abc import Mapping

from inference.gateway.http.url_files import FetchedFile, FetchFailed, UrlFiles
from inference.images import SIGNATURE_BYTES, image_type
from persistence.collections import FILES
from persistence.errors import ContentNotFound
from persistence.store import Document, Key, Store
from persistence.types import JSON

MAX_BYTES = 32 * 1024 * 1024
"""Bytes of the images and files of a request as it is sent: as many as a body here may have."""

IMAGE_LEFT_OUT = {"type": "text", "text": "[An image is left out: the request has too many bytes of images.]"}
FILE_LEFT_OUT = {"type": "text", "text": "[A file is left out: the request has too many bytes of files.]"}


class InputFiles:
    """The images and files of a request, up to so many bytes: those that are asked for first."""

    def __init__(
        self,
        store: Store,
        project: str,
        urls: UrlFiles | None = None,
        fetched: Mapping[str, FetchedFile] | None = None,
    ) -> None:
        self._store = store
        self._project = project
        self._urls = urls or UrlFiles()
        self._fetched = fetched or {}
        self._room = MAX_BYTES

    def image_by_url(self, image: JSON) -> JSON:
        """Return an image that is given by its URL."""
        return {"type": "image_url", "image_url": image} if self._fits(len(image["url"])) else IMAGE_LEFT_OUT

    async def image_by_id(self, image: JSON) -> JSON:
        """Return an uploaded image (`file_id`, `detail`) as a data URL, a deleted one as a text."""
        document = await self._document(image["file_id"])
        if document is not None and not self._fits(document.value["bytes"] * 4 // 3):  # as base64
            return IMAGE_LEFT_OUT
        data = await self._content(document)
        if data is None:
            return {"type": "text", "text": f"[The image {image['file_id']} was deleted.]"}
        kind = image_type(data[:SIGNATURE_BYTES]) or "image/png"
        url = await asyncio.to_thread(_data_url, kind, data)
        return {"type": "image_url", "image_url": {"url": url, "detail": image.get("detail") or "auto"}}

    async def file_by_data(self, data: str, filename: str) -> JSON:
        """Return a file that the request itself holds, as a data URL or as base64.

        A file of text is a text, which any model reads: chat completions take PDFs only.
        """
        if not self._fits(len(data)):
            return FILE_LEFT_OUT
        content = await asyncio.to_thread(_decoded, data)
        if content is not None and (text := _text(content)) is not None:
            return _text_part(text, filename)
        return _file_part(data if data.startswith("data:") else _url_of(data, filename), filename)

    async def file_by_url(self, url: str, filename: str | None) -> JSON:
        """Return the file of a URL as a data URL; one of text, or one that cannot be fetched, as a text."""
        try:
            file = self._fetched.get(url) or await self._urls.fetch(url)
        except FetchFailed as exc:
            return {"type": "text", "text": f"[{exc}]"}
        if not self._fits(len(file.data) * 4 // 3):
            return FILE_LEFT_OUT
        return await _part_of(file.data, filename or file.filename)

    async def file_by_id(self, file_id: str) -> JSON:
        """Return an uploaded file as a data URL; one of text, or a deleted one, as a text."""
        document = await self._document(file_id)
        if document is not None and not self._fits(document.value["bytes"] * 4 // 3):
            return FILE_LEFT_OUT
        data = await self._content(document)
        if document is None or data is None:
            return {"type": "text", "text": f"[The file {file_id} was deleted.]"}
        return await _part_of(data, document.value["filename"])

    async def _document(self, file_id: str) -> Document | None:
        return await self._store.get(Key(self._project, FILES, file_id))

    async def _content(self, document: Document | None) -> bytes | None:
        if document is None:
            return None
        content = self._store.read_content(self._project, document.state["content"])
        try:
            return b"".join([piece async for piece in content])
        except ContentNotFound:
            return None

    def _fits(self, size: int) -> bool:
        if size > self._room:
            return False
        self._room -= size
        return True


def image_urls(message: JSON) -> list[str]:
    """Return the URLs of the images of a chat message, in their order."""
    content = message.get("content")
    if not isinstance(content, list):
        return []
    return [part["image_url"]["url"] for part in content if part["type"] == "image_url"]


async def _part_of(data: bytes, filename: str) -> JSON:
    if (text := _text(data)) is not None:
        return _text_part(text, filename)
    return _file_part(await asyncio.to_thread(_data_url, _media_type(filename), data), filename)


def _file_part(url: str, filename: str) -> JSON:
    return {"type": "file", "file": {"file_data": url, "filename": filename}}


def _text_part(text: str, filename: str) -> JSON:
    return {"type": "text", "text": f"[File {filename}]\n{text}"}


def _text(content: bytes) -> str | None:
    """Return the text of a file; None for a file that is not text."""
    if content.startswith(b"%PDF") or b"\0" in content:
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _decoded(data: str) -> bytes | None:
    """Return the bytes of a data URL or of base64; None if it is neither."""
    try:
        return base64.b64decode(data.rpartition(",")[2], validate=True)
    except ValueError:
        return None


def _url_of(encoded: str, filename: str) -> str:
    return f"data:{_media_type(filename)};base64,{encoded}"


def _media_type(filename: str) -> str:
    return mimetypes.guess_type(filename)[0] or "application/octet-stream"


def _data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
