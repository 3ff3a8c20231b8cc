"""Excel workbooks: typed cells by Calamine; error cells and drawings, which it leaves out, by lxml."""

import io
import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, BinaryIO

import lxml.etree
from python_calamine import CalamineWorkbook

from inference.parsing.formats import drawing
from inference.parsing.formats.office import Package, attribute, find_all

CELL = re.compile(r"([A-Z]+)([0-9]+)")


def read(file: BinaryIO) -> Iterator[str]:
    """Yield each sheet's name, its rows with tabs between cells, and its text boxes, charts and comments."""
    package = Package(file, "xl/")
    parts = _sheet_parts(package)
    file.seek(0)
    workbook = CalamineWorkbook.from_object(file)
    for name in workbook.sheet_names:
        yield f"{name}\n"
        part = parts.get(name)
        errors = _error_cells(package, part) if part else {}
        for number, row in enumerate(workbook.get_sheet_by_name(name).iter_rows()):
            cells = [errors.get((number, column)) or shown(cell) for column, cell in enumerate(row)]
            if line := "\t".join(cells).rstrip("\t"):
                yield line + "\n"
        if part:
            yield from _drawings(package, part)
        yield "\n"


def shown(value: Any) -> str:
    """Return a cell's value without exponents, decimals that are zero, or days of a duration."""
    match value:
        case bool():
            return str(value).upper()
        case float():
            return _number(value)
        case datetime():
            return value.isoformat(" ") if value.time() != time() else value.date().isoformat()
        case date():
            return value.isoformat()
        case timedelta():
            return _duration(value)
    return str(value)


def _number(value: float) -> str:
    text = repr(value)
    if "e" in text or "E" in text:
        text = format(Decimal(text), "f")
    return text.removesuffix(".0")


def _duration(value: timedelta) -> str:
    seconds = round(value.total_seconds())
    minutes, second = divmod(abs(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{'-' if seconds < 0 else ''}{hour}:{minute:02}:{second:02}"


def _sheet_parts(package: Package) -> dict[str, str]:
    """Return the part of each sheet by the sheet's name."""
    main = package.main_part()
    parts = {link.id: link.part for link in package.relationships(main)}
    sheets = find_all(package.xml(main), "sheet")
    return {
        sheet.get("name", ""): parts[id] for sheet in sheets if (id := attribute(sheet, "id") or "") in parts
    }


def _error_cells(package: Package, part: str) -> dict[tuple[int, int], str]:
    """Return the texts of error cells (`#DIV/0!`) by row and column, counted from 0."""
    data = package.read(part)
    if b't="e"' not in data:
        return {}
    found = {}
    events = lxml.etree.iterparse(io.BytesIO(data), tag="{*}c", resolve_entities=False, no_network=True)
    for _, cell in events:
        reference = CELL.fullmatch(cell.get("r", ""))
        if cell.get("t") == "e" and reference:
            found[int(reference[2]) - 1, _column(reference[1])] = cell.findtext("{*}v") or ""
        cell.clear()
    return found


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number - 1


def _drawings(package: Package, part: str) -> Iterator[str]:
    for drawn in package.related(part, "drawing"):
        yield from drawing.paragraphs(package.xml(drawn))
        for linked in package.related(drawn, *drawing.PARTS):
            yield from drawing.read_part(package, linked)
    for comments in package.related(part, "comments"):
        for comment in find_all(package.xml(comments), "comment"):
            yield "".join(text.text or "" for text in find_all(comment, "t")) + "\n"
