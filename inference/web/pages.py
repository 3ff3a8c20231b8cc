"""Pages of the web as text: fetched from checked addresses, and read in the parser's sandbox."""

from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from typing import NamedTuple

from inference.errors import DocumentError, InferenceError
from inference.gateway.driver import one_piece
from inference.gateway.http.url_files import FetchFailed, UrlFiles
from inference.parsing.chunking import AUTO
from inference.parsing.sandbox import Sandbox

MAX_BYTES = 8 * 1024 * 1024
"""Bytes of a page."""

MAX_TEXT = 2_000_000
"""Characters of a page that are kept; what follows is left out."""

MAX_TITLE = 200

CONTEXT = 250
"""Characters around a match that are shown."""

MAX_MATCHES = 20

_OFFICE = "application/vnd.openxmlformats-officedocument."
SUFFIXES = {
    "application/json": ".json",
    "application/pdf": ".pdf",
    "application/xhtml+xml": ".html",
    "application/xml": ".txt",
    "text/html": ".html",
    f"{_OFFICE}presentationml.presentation": ".pptx",
    f"{_OFFICE}spreadsheetml.sheet": ".xlsx",
    f"{_OFFICE}wordprocessingml.document": ".docx",
}
"""How a page is read, by its content type; other texts are read as they are."""


class PageFailed(InferenceError):
    """A page cannot be read; the message is for the model."""


class Page(NamedTuple):
    """The text of a page. `url` is where it was found after redirects."""

    url: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Pages:
    """Reads pages; hosts of `urls`' guard may be in the operator's network."""

    urls: UrlFiles
    sandbox: Sandbox

    async def read(self, sharer: str, url: str, allows: Callable[[str], bool]) -> Page:
        """Return the page of a URL, read in the turn of `sharer`; PageFailed.

        `allows` decides on each host that is asked.
        """
        try:
            fetched = await self.urls.fetch(url, MAX_BYTES, allows=allows, reads=_is_readable)
            suffix, charset = _form(fetched.content_type)
            parsed = await self.sandbox.parse(
                sharer, one_piece(fetched.data), f"page{suffix}", AUTO, charset=charset, replaces=True
            )
        except FetchFailed as exc:
            raise PageFailed(str(exc)) from exc
        except DocumentError as exc:
            raise PageFailed(f"The page cannot be read. {exc.message}") from exc
        try:
            text = parsed.text()[:MAX_TEXT]
        finally:
            parsed.close()
        lines = [line for each in text.splitlines() if (line := " ".join(each.split()))]
        return Page(fetched.url or url, lines[0][:MAX_TITLE] if lines else "", "\n".join(lines))


def passages(text: str, pattern: str) -> list[str]:
    """Return the places of a page that have these words, in any case, each with what is around it."""
    wanted, lowered = " ".join(pattern.lower().split()), text.lower()
    found: list[str] = []
    if len(lowered) != len(text):  # a few characters have two in lower case
        lowered = text
    end = -1
    at = lowered.find(wanted) if wanted else -1
    while at >= 0 and len(found) < MAX_MATCHES:
        if at >= end:
            start, end = max(0, at - CONTEXT), min(len(text), at + len(wanted) + CONTEXT)
            found.append(text[start:end].strip())
        at = lowered.find(wanted, at + len(wanted))
    return found


def _form(content_type: str) -> tuple[str, str]:
    """Return the extension and the charset of a content type."""
    message = Message()
    message["content-type"] = content_type or "text/html"
    return SUFFIXES.get(message.get_content_type(), ".txt"), message.get_content_charset("")


def _is_readable(content_type: str) -> bool:
    """Return whether a content type may hold text; a page without any is taken for HTML."""
    message = Message()
    message["content-type"] = content_type or "text/html"
    return message.get_content_maintype() == "text" or message.get_content_type() in SUFFIXES
