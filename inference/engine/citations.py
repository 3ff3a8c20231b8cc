"""Finds citation marks in a streamed answer, so that a mark and its annotation are sent together."""

import re
from collections.abc import Iterator

from inference.engine.tools import Toolbox
from persistence.types import JSON

OPENING, CLOSING = "\u3010", "\u3011"

PATH = "sandbox:/mnt/data/"
"""How an answer names a file that the model's code has written."""

LONGEST = 64
"""Characters of a mark, at most; a longer one is plain text."""

LONGEST_PATH = 512
"""Characters of a file's path, at most; what follows is plain text."""

CONTEXT = 300
"""Characters before a mark that its tool gets to see."""

LINK = "]("
"""Between the two parts of a link in Markdown; behind it a path may have spaces and parentheses in pairs."""

_PATH = re.escape(PATH)
_IN_LINK = rf"[^()\r\n<>\"{OPENING}]"
_MARK = re.compile(
    rf"{OPENING}[^{OPENING}{CLOSING}]*{CLOSING}"
    rf"|(?<={re.escape(LINK)}){_PATH}(?:{_IN_LINK}|\({_IN_LINK}*\))+(?=\))"
    rf"|{_PATH}[^\s()<>\[\]\"'`{OPENING}]+(?<![.,;:!?])"
)
_OPEN_PATH = re.compile(
    rf"{re.escape(LINK)}{_PATH}(?:{_IN_LINK}|\({_IN_LINK}*\))*(?:\({_IN_LINK}*)?\Z"
    rf"|{_PATH}[^\s()<>\[\]\"'`{OPENING}]*\Z"
)


class CitationReader:
    """Holds back text that may be the beginning of a mark. Its cost is linear in the text."""

    def __init__(self, tools: Toolbox) -> None:
        self._tools = tools
        self._held = ""
        self._offset = 0
        self._before = ""

    def read(self, text: str) -> list[tuple[str, list[JSON]]]:
        """Return the text that can be sent after `text` has arrived, with the annotations of its marks."""
        if not self._tools:
            return [(text, [])]
        text = self._held + text
        start = _first_open(text)
        ready, self._held = text[:start], text[start:]
        return [self._piece(ready)] if ready else []

    def end(self) -> list[tuple[str, list[JSON]]]:
        """Return the text that is still held back."""
        held, self._held = self._held, ""
        return [self._piece(held)] if held else []

    def _piece(self, text: str) -> tuple[str, list[JSON]]:
        """Return the text as clients see it, and its annotations; their offsets are in the whole answer."""
        annotations: list[JSON] = []
        if CLOSING in text or PATH in text:
            parts, end, length = list[str](), 0, 0
            for start, mark in _marks(text):
                parts.append(text[end:start])
                length += start - end
                before = (self._before + "".join(parts))[-CONTEXT:].rpartition(CLOSING)[2]
                citation = self._tools.cite(mark, self._offset + length, before)
                shown = mark
                if citation is not None:
                    annotations.append(citation.annotation)
                    shown = mark if citation.text is None else citation.text
                parts.append(shown)
                length, end = length + len(shown), start + len(mark)
            text = "".join([*parts, text[end:]])
        self._offset += len(text)
        self._before = (self._before + text)[-CONTEXT:]
        return text, annotations


def _marks(text: str) -> Iterator[tuple[int, str]]:
    return ((found.start(), found[0]) for found in _MARK.finditer(text))


def _first_open(text: str) -> int:
    """Return the offset of a mark that may still go on, or the text's length."""
    end = len(text)
    start = text.rfind(OPENING)
    if start >= 0 and CLOSING not in text[start:] and end - start <= LONGEST:
        return start
    path = _OPEN_PATH.search(text, max(0, end - LONGEST_PATH))
    if path is not None:
        return path.start()
    return end - _beginning_of_path(text)


def _beginning_of_path(text: str) -> int:
    """Return the characters at the end of the text with which a link to a path, or a path, may begin."""
    for beginning in (LINK + PATH, PATH):
        start = text.find(beginning[0], max(0, len(text) - len(beginning) + 1))
        while start >= 0:
            if beginning.startswith(text[start:]):
                return len(text) - start
            start = text.find(beginning[0], start + 1)
    return 0
