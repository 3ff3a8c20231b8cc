"""PowerPoint presentations."""

from collections.abc import Iterator
from typing import Any, BinaryIO

from inference.parsing.formats import drawing
from inference.parsing.formats.office import Package, attribute, find_all, walk

SKIPPED = frozenset({"nvPr", "spPr", "bodyPr", "lstStyle", "pPr", "rPr", "endParaRPr", "tblPr", "tblGrid"})
NOT_NOTES = ("sldImg", "sldNum", "dt", "hdr", "ftr")
"""Kinds of placeholders of a notes page that hold none of its notes."""


def read(file: BinaryIO) -> Iterator[str]:
    """Yield the text of each slide in order: shapes, tables, charts and SmartArt, then the notes."""
    package = Package(file, "ppt/")
    main = package.main_part()
    slides = {link.id: link.part for link in package.relationships(main) if link.type == "slide"}
    for entry in find_all(package.xml(main), "sldId"):
        part = slides.get(next((value for key, value in entry.items() if key.endswith("}id")), ""))
        if part is None:
            continue
        yield from _shapes(package, part, package.xml(part))
        for notes in package.related(part, "notesSlide"):
            root = package.xml(notes)
            for shape in list(find_all(root, "sp")):
                kinds = [attribute(placeholder, "type") for placeholder in find_all(shape, "ph")]
                if any(kind in NOT_NOTES for kind in kinds):
                    shape.getparent().remove(shape)
            yield from _shapes(package, notes, root)
        for comments in package.related(part, "comments"):
            yield from (f"{text.text}\n" for text in find_all(package.xml(comments), "text") if text.text)
        yield "\n"


def _shapes(package: Package, part: str, root: Any) -> Iterator[str]:
    links = {link.id: link.part for link in package.relationships(part) if link.type in drawing.PARTS}
    row: list[str] | None = None
    for event, element, name in walk(root, SKIPPED):
        if event == "end":
            if name == "tr" and row is not None:
                yield "\t".join(row) + "\n"
                row = None
            continue
        if name == "tr":
            row = []
        elif name == "tc" and row is not None and not _is_merged(element):
            row.append("\n".join(line.rstrip("\n") for line in drawing.paragraphs(element)))
        elif name == "txBody" and row is None:
            yield from drawing.paragraphs(element)
        elif name in ("chart", "relIds"):  # a chart, or SmartArt, whose data part is named by `dm`
            target = links.get(attribute(element, "dm" if name == "relIds" else "id") or "")
            if target is not None:
                yield from drawing.read_part(package, target)


def _is_merged(cell: Any) -> bool:
    """Return whether another cell of the table covers this one."""
    return cell.get("hMerge") in ("1", "true") or cell.get("vMerge") in ("1", "true")
