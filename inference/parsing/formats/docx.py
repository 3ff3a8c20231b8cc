"""Word documents, by python-docx."""

from collections.abc import Iterator
from typing import BinaryIO

from docx import Document
from docx.table import Table

from inference.parsing.formats.office import check_package


def read(file: BinaryIO) -> Iterator[str]:
    """Paragraphs, and the rows of tables with tabs between cells; DocumentError."""
    check_package(file, "word/")
    for block in Document(file).iter_inner_content():
        if not isinstance(block, Table):
            yield block.text + "\n"
            continue
        for row in block.rows:
            yield "\t".join(cell.text for cell in row.cells) + "\n"
