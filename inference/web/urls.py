"""The URLs that a user's messages name."""

import re
from collections.abc import Iterable, Iterator

from persistence.types import JSON

MAX_URLS = 1000
URL = re.compile(r"https?://[^\s<>\"'`\\|^{}\u3010\u3011]{1,2048}")
ENDS = ".,;:!?*_)]"
"""Characters that end a sentence or a link more often than a URL."""


def urls_of(messages: Iterable[JSON]) -> tuple[str, ...]:
    """Return the URLs in the chat messages of the user, each once, also without what ends a sentence."""
    found: dict[str, None] = {}
    for url in _named(messages):
        found[url] = None
        if len(found) == MAX_URLS:
            break
    return (*found,)


def _named(messages: Iterable[JSON]) -> Iterator[str]:
    users = (message.get("content") for message in messages if message.get("role") == "user")
    for text in (text for content in users for text in _texts(content)):
        for match in URL.finditer(text):
            yield from (match[0], match[0].rstrip(ENDS), match[0].partition(")")[0])


def _texts(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        if isinstance(part.get("text"), str):
            yield part["text"]
