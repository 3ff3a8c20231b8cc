"""PDF, by PDFium."""

from collections.abc import Iterator
from typing import BinaryIO

import pypdfium2

from inference.errors import DocumentError


def read(file: BinaryIO) -> Iterator[str]:
    """The text of each page; DocumentError for a PDF that is broken or encrypted."""
    if b"%PDF-" not in file.read(1024):
        raise DocumentError("The file is no PDF.", code="invalid_file")
    file.seek(0)
    try:
        document = pypdfium2.PdfDocument(file)
        for page in document:
            # PDFium ends lines as Windows does, and marks a word's break at one with U+FFFE.
            text: str = page.get_textpage().get_text_range()
            yield text.replace("\r\n", "\n").replace("\ufffe", "") + "\n\n"
            page.close()
    except pypdfium2.PdfiumError as exc:
        if "password" in str(exc).lower():
            raise DocumentError("The PDF is encrypted.", code="invalid_file") from exc
        raise DocumentError(f"The PDF cannot be read: {exc}", code="invalid_file") from exc
