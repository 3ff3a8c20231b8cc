"""Finds citation marks in a streamed answer, so that a mark and its annotation are sent together."""

from inference.engine.tools import Toolbox
from persistence.types import JSON

OPENING, CLOSING = "\u3010", "\u3011"
LONGEST = 64
"""Characters of a mark, at most; a longer one is plain text."""

CONTEXT = 300
"""Characters before a mark that its tool gets to see."""


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
        start = text.rfind(OPENING)
        whole = start < 0 or CLOSING in text[start:] or len(text) - start > LONGEST
        ready, self._held = (text, "") if whole else (text[:start], text[start:])
        return [self._piece(ready)] if ready else []

    def end(self) -> list[tuple[str, list[JSON]]]:
        """Return the text that is still held back."""
        held, self._held = self._held, ""
        return [self._piece(held)] if held else []

    def _piece(self, text: str) -> tuple[str, list[JSON]]:
        annotations = self._annotations(text) if CLOSING in text else []
        self._offset += len(text)
        self._before = (self._before + text)[-CONTEXT:]
        return text, annotations

    def _annotations(self, text: str) -> list[JSON]:
        found: list[JSON] = []
        end = 0
        while (start := text.find(OPENING, end)) >= 0 and (close := text.find(CLOSING, start)) >= 0:
            start = text.rfind(OPENING, start, close)
            before = (self._before + text[max(0, start - CONTEXT) : start])[-CONTEXT:]
            before = before.rpartition(CLOSING)[2]
            annotation = self._tools.cite(text[start : close + 1], self._offset + start, before)
            if annotation is not None:
                found.append(annotation)
            end = close + 1
        return found
