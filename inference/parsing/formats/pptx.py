"""PowerPoint presentations, by python-pptx."""

from collections.abc import Iterator
from typing import Any, BinaryIO

from pptx import Presentation
from pptx.shapes.group import GroupShape

from inference.parsing.formats.office import check_package


def read(file: BinaryIO) -> Iterator[str]:
    """The texts of each slide, its tables and its notes; DocumentError."""
    check_package(file, "ppt/")
    for slide in Presentation(file).slides:
        yield from _shapes(slide.shapes)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            yield slide.notes_slide.notes_text_frame.text + "\n"
        yield "\n"


def _shapes(shapes: Any) -> Iterator[str]:
    for shape in shapes:
        if isinstance(shape, GroupShape):
            yield from _shapes(shape.shapes)
        elif shape.has_text_frame:
            yield shape.text_frame.text + "\n"
        elif shape.has_table:
            for row in shape.table.rows:
                yield "\t".join(cell.text for cell in row.cells) + "\n"
