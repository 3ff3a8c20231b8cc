"""HTML, by lxml."""

from collections.abc import Iterator
from typing import BinaryIO

import lxml.etree
import lxml.html

from inference.errors import DocumentError
from inference.parsing.formats.text import decoded

# Elements that begin on a line of their own.
# fmt: off
BLOCKS = frozenset(
    {
        "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "fieldset",
        "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li",
        "main", "nav", "ol", "option", "p", "pre", "section", "table", "td", "th", "title", "tr", "ul"
    }
)
# fmt: on
HIDDEN = frozenset({"script", "style", "template", "noscript", "svg"})


def read(file: BinaryIO) -> Iterator[str]:
    """What a reader of the page sees, block by block; DocumentError."""
    text = decoded(file)
    if not text.strip():
        return
    parser = lxml.html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        root = lxml.html.document_fromstring(text.encode(), parser=parser)
    except lxml.etree.LxmlError as exc:
        raise DocumentError(f"The file is no readable HTML: {exc}.", code="invalid_file") from exc
    hidden = 0
    for event, element in lxml.etree.iterwalk(root, events=("start", "end")):
        start = event == "start"
        if element.tag in HIDDEN:
            hidden += 1 if start else -1
        if element.tag in BLOCKS:
            yield "\n"
        piece = element.text if start else element.tail
        if piece and not hidden:
            yield piece
