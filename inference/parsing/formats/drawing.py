"""Charts and SmartArt, which Word, PowerPoint and Excel files keep in parts of their own."""

from collections.abc import Iterator
from typing import Any

from inference.parsing.formats.office import Package, attribute, find_all, local_name, walk

PARTS = ("chart", "chartEx", "diagramData")
"""Types of the relationships that lead to a chart or to SmartArt."""


def read_part(package: Package, part: str) -> Iterator[str]:
    """Yield the lines of a chart or SmartArt part: titles and labels, then the values as a table."""
    root = package.xml(part)
    yield from paragraphs(root)
    for title in find_all(root, "title"):  # one that is taken from a cell
        yield from (
            f"{value.text}\n" for value in find_all(title, "v") if local_name(value.getparent()) == "pt"
        )
    yield from _table(root)


def paragraphs(root: Any) -> Iterator[str]:
    """Yield each paragraph of DrawingML text."""
    pieces: list[str] = []
    for event, element, name in walk(root):
        if event == "start" and name in ("t", "br"):
            pieces.append("\n" if name == "br" else element.text or "")
        elif event == "end" and name == "p":
            if line := "".join(pieces).strip():
                yield line + "\n"
            pieces.clear()


def _table(root: Any) -> Iterator[str]:
    """Yield a chart's cached data: the names of its series, then a row of values for each category."""
    series = list(find_all(root, "ser"))
    if not series:  # a newer kind of chart (chartEx): each level of its data is a list of points
        yield from (f"{point.text}\n" for point in find_all(root, "pt") if (point.text or "").strip())
        return
    columns: list[dict[int, str]] = []
    names = []
    for one in series:
        names.append(" ".join(_points(one, "tx").values()))
        for labels in (_points(one, "cat", "xVal"), _points(one, "bubbleSize")):
            if labels and labels not in columns:
                columns.append(labels)
        columns.append(_points(one, "val", "yVal"))
    yield "\t".join(filter(None, names)) + "\n"
    for row in sorted(set().union(*columns)):
        yield "\t".join(column.get(row, "") for column in columns) + "\n"


def _points(series: Any, *names: str) -> dict[int, str]:
    """Return the cached values of one dimension of a series, by their index."""
    found: dict[int, str] = {}
    for child in series:
        if local_name(child) not in names:
            continue
        for value in find_all(child, "v"):
            index = int(attribute(value.getparent(), "idx") or 0)
            found[index] = f"{found[index]} {value.text}" if index in found else value.text or ""
    return found
