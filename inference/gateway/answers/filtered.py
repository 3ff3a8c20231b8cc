"""Answers that a provider's content filter has ended before they had any content."""

from collections.abc import AsyncGenerator
from typing import Any

import orjson

from persistence.types import JSON

FILTERED = "content_filter"
"""The finish reason of an answer that a content filter has ended."""


def is_filtered(answer: JSON) -> bool:
    """Return whether a whole answer is nothing but its filter's end."""
    choices = answer.get("choices") or []
    return bool(choices) and all(
        choice.get("finish_reason") == FILTERED and not _has_content(choice.get("message") or {}, choice)
        for choice in choices
    )


async def read_verdict(first: Any, rest: AsyncGenerator[Any, None]) -> tuple[Any, bool]:
    """Read a stream up to its first content; return what was read, and whether the filter was all of it.

    Items are chunks or frames; what is read early has no content, so that no client waits for any.
    """
    read, item = first, first
    while (verdict := _verdict(_chunks(item))) is None:
        try:
            item = await anext(rest)
        except StopAsyncIteration:
            return read, False
        read = read + item
    return read, verdict


def _verdict(chunks: list[JSON]) -> bool | None:
    """Return whether the chunks are the filter's end; None if they are neither that nor content."""
    for chunk in chunks:
        for choice in chunk.get("choices") or ():
            if _has_content(choice.get("delta") or {}, choice):
                return False
            if choice.get("finish_reason") is not None:
                return bool(choice["finish_reason"] == FILTERED and choice.get("index", 0) == 0)
    return None


def _has_content(members: JSON, choice: JSON) -> bool:
    return bool(choice.get("text")) or any(value for name, value in members.items() if name != "role")


def _chunks(item: Any) -> list[JSON]:
    """Return the chunks of an item of a stream: a list of them, or frames."""
    if not isinstance(item, bytes):
        return list(item)
    data = (line[5:].strip() for line in item.splitlines() if line.startswith(b"data:"))
    values = [orjson.loads(each) for each in data if each != b"[DONE]"]
    return [value for value in values if isinstance(value, dict)]
