"""HTML, by lxml."""

from collections.abc import Iterator
from typing import Any, BinaryIO

import lxml.etree
import lxml.html

from inference.errors import DocumentError
from inference.parsing.formats.text import decode

# Elements that do not separate the words around them; every other one begins and ends a line.
# fmt: off
INLINE = frozenset(
    {
        "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font",
        "i", "ins", "kbd", "label", "mark", "nobr", "output", "q", "rb", "ruby", "s", "samp", "slot", "small",
        "span", "strike", "strong", "sub", "sup", "time", "tspan", "tt", "u", "var", "wbr"
    }
)
# fmt: on
HIDDEN = frozenset(
    {"script", "style", "template", "noscript", "noframes", "datalist", "defs", "desc", "metadata"}
)


def read(file: BinaryIO, charset: str, *, replaces: bool = False) -> Iterator[str]:
    """Yield what a reader of the page sees, block by block; raise DocumentError."""
    text = decode(file, charset, replaces=replaces)
    if not text.strip():
        return
    parser = lxml.html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        root = lxml.html.document_fromstring(text.encode(), parser=parser)
    except lxml.etree.LxmlError as exc:
        raise DocumentError(f"The HTML cannot be read: {exc}.", code="invalid_file") from exc
    hidden = 0
    for event, element in lxml.etree.iterwalk(root, events=("start", "end")):
        start = event == "start"
        if _is_hidden(element):
            hidden += 1 if start else -1
        if element.tag not in INLINE:
            yield "\n"
        piece = element.text if start else element.tail
        if piece and not hidden:
            yield piece


def _is_hidden(element: Any) -> bool:
    return element.tag in HIDDEN or "hidden" in element.attrib
