"""Word documents."""

from collections.abc import Iterator
from typing import Any, BinaryIO

from inference.parsing.formats import drawing
from inference.parsing.formats.office import Package, attribute, local_name, walk

BEFORE = ("header",)
AFTER = ("footnotes", "endnotes", "comments", *drawing.PARTS, "footer")
"""Types of the parts that are read before and after the document itself."""

# Deleted and moved text, properties, and codes of fields, of which the results are shown.
# fmt: off
SKIPPED = frozenset(
    {
        "del", "moveFrom", "delText", "instrText", "delInstrText", "pPr", "sectPr", "tblPr", "tblGrid",
        "tcPr", "sdtPr", "sdtEndPr", "rubyPr", "fldData"
    }
)
# fmt: on
CHARACTERS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
OFF = ("0", "false", "off")


def read(file: BinaryIO) -> Iterator[str]:
    """Yield every visible word once: a line for each paragraph, tabs between the cells of a row.

    Headers come first; footnotes, endnotes, comments, charts and footers follow the document.
    """
    package = Package(file, "word/")
    main = package.main_part()
    for part in package.related(main, *BEFORE):
        yield from _story(package.xml(part))
    yield from _story(package.xml(main))
    for kind in AFTER:
        for part in package.related(main, kind):
            if kind in drawing.PARTS:
                yield from drawing.read_part(package, part)
            else:
                yield from _story(package.xml(part))


def _story(root: Any) -> Iterator[str]:
    """Yield the text of a part; an empty header gives nothing."""
    pieces = list(_pieces(root))
    if any(piece.strip() for piece in pieces):
        yield from pieces


def _pieces(root: Any) -> Iterator[str]:
    cells: list[bool] = []
    """For each table row that is open: whether a cell of it was read."""
    for event, element, name in walk(root, SKIPPED):
        if event == "start":
            if name == "tr":
                cells.append(False)
            elif name == "tc" and cells:
                if cells[-1]:
                    yield "\t"
                cells[-1] = True
            elif name == "t" and element.text and not _is_hidden(element):
                yield element.text
            elif name in CHARACTERS:
                yield CHARACTERS[name]
            elif name == "txbxContent":
                yield "\n"
            elif name == "textpath":  # WordArt and watermarks
                yield element.get("string", "")
        elif name == "tr":
            cells.pop()
            yield "\n"
        elif name == "p" and not _ends_cell(element):
            yield "\n"


def _is_hidden(text: Any) -> bool:
    """Return whether the run of this text is formatted as hidden."""
    properties = text.getparent().find("{*}rPr")
    mark = properties.find("{*}vanish") if properties is not None else None
    return mark is not None and attribute(mark, "val") not in OFF


def _ends_cell(paragraph: Any) -> bool:
    """Return whether a tab or the row's end follows, and not another line of the cell."""
    parent = paragraph.getparent()
    return local_name(parent) == "tc" and paragraph.getnext() is None
