"""What an MCP server answers, as the model and the call's item have it."""

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import Any

from inference.images import MAX_IMAGE, SIGNATURE_BYTES, image_type
from persistence.types import JSON

MAX_TEXT = 128 * 1024
"""Characters of a result's text; what follows is cut off, and the model is told so."""


@dataclass(frozen=True, slots=True)
class CallResult:
    """The text of a result, its images as data URLs, and whether the tool says that it failed."""

    text: str
    images: tuple[str, ...] = field(default=(), repr=False)
    is_error: bool = False


def call_result(content: list[JSON], structured: Any = None, *, is_error: bool = False) -> CallResult:
    """Return a result from its blocks of content as JSON, and its structured content if it has any.

    Structured content is shown where no text is: servers repeat it as text for clients that cannot read it.
    """
    images: list[str] = []
    texts = [text for block in content if (text := _text(block, images))]
    if structured is not None and not any(block.get("type") == "text" for block in content):
        texts.append(json.dumps(structured, ensure_ascii=False, separators=(",", ":")))
    text = "\n".join(texts)
    return CallResult(cut(text, MAX_TEXT), tuple(images), is_error)


def cut(text: str, most: int) -> str:
    """Return a text of at most so many characters, and a note if it is longer."""
    if len(text) <= most:
        return text
    return f"{text[:most]}\n[The rest of the result is cut off: it has {len(text)} characters.]"


def _text(block: JSON, images: list[str]) -> str:
    """Return the text of a block; an image that the model can see is added to `images`."""
    match block.get("type"):
        case "text":
            return str(block.get("text") or "")
        case "image":
            return _image(block, images)
        case "audio":
            return f"[Audio of the type {block.get('mimeType')}, which cannot be shown.]"
        case "resource_link":
            parts = (block.get("title") or block.get("name"), block.get("uri"), block.get("description"))
            return f"[Resource: {', '.join(str(part) for part in parts if part)}]"
        case "resource":
            return _resource(block.get("resource") or {})
        case other:
            return f"[Content of the type {other}, which cannot be shown.]"


def _image(block: JSON, images: list[str]) -> str:
    data = block.get("data") or ""
    try:
        beginning = base64.b64decode(data[: SIGNATURE_BYTES * 4], validate=True)
        kind = image_type(beginning[:SIGNATURE_BYTES])
    except (binascii.Error, ValueError):
        kind = None
    if kind is None or len(data) > MAX_IMAGE:
        return f"[An image of the type {block.get('mimeType')}, which cannot be shown.]"
    images.append(f"data:{kind};base64,{data}")
    return ""


def _resource(resource: JSON) -> str:
    uri = resource.get("uri")
    if isinstance(text := resource.get("text"), str):
        return f"[Resource: {uri}]\n{text}"
    return f"[Resource: {uri}, of the type {resource.get('mimeType')}, which cannot be shown.]"
