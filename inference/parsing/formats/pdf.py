"""PDF, by PDFium."""

import ctypes
from collections.abc import Iterator
from typing import Any, BinaryIO

import pypdfium2
import pypdfium2.raw as pdfium

from inference.errors import DocumentError

HIDDEN = pdfium.FPDF_ANNOT_FLAG_HIDDEN | pdfium.FPDF_ANNOT_FLAG_NOVIEW
NOTES = (pdfium.FPDF_ANNOT_FREETEXT, pdfium.FPDF_ANNOT_TEXT)
FIELDS = (
    pdfium.FPDF_FORMFIELD_TEXTFIELD,
    pdfium.FPDF_FORMFIELD_COMBOBOX,
    pdfium.FPDF_FORMFIELD_LISTBOX,
)
PASSWORD = 1 << 13
"""Flag of a text field whose value is not shown."""


def read(file: BinaryIO) -> Iterator[str]:
    """Yield the text of each page, then the values of its form fields and its notes.

    A page that cannot be read is left out. Raise DocumentError for a PDF that is broken or
    encrypted, or that has no readable page.
    """
    if b"%PDF-" not in file.read(1024):
        raise DocumentError("The file is not a PDF.", code="invalid_file")
    file.seek(0)
    try:
        document = pypdfium2.PdfDocument(file)
        document.init_forms()
    except pypdfium2.PdfiumError as exc:
        if "password" in str(exc).lower():
            raise DocumentError("The PDF is encrypted.", code="invalid_file") from exc
        raise DocumentError(f"The PDF cannot be read: {exc}", code="invalid_file") from exc
    failed = 0
    for number in range(len(document)):
        try:
            page = document[number]
            text = _page(document, page)
            page.close()
        except pypdfium2.PdfiumError:
            failed += 1
        else:
            yield text + "\n\n"
    if failed and failed == len(document):
        raise DocumentError("The PDF cannot be read: none of its pages can.", code="invalid_file")


def _page(document: pypdfium2.PdfDocument, page: pypdfium2.PdfPage) -> str:
    # PDFium ends lines as Windows does, and marks a word's break at one with U+FFFE.
    text: str = page.get_textpage().get_text_range()
    lines = [text.replace("\r\n", "\n").replace("\ufffe", "")]
    for index in range(pdfium.FPDFPage_GetAnnotCount(page)):
        annotation = pdfium.FPDFPage_GetAnnot(page, index)
        if not annotation:
            continue
        if not pdfium.FPDFAnnot_GetFlags(annotation) & HIDDEN:
            lines += filter(None, [_annotation(document, annotation).strip()])
        pdfium.FPDFPage_CloseAnnot(annotation)
    return "\n".join(lines)


def _annotation(document: pypdfium2.PdfDocument, annotation: Any) -> str:
    """Return the value of a form field, or the words of a note."""
    subtype = pdfium.FPDFAnnot_GetSubtype(annotation)
    if subtype in NOTES:
        return _string(pdfium.FPDFAnnot_GetStringValue, annotation, b"Contents")
    form = document.formenv
    if subtype != pdfium.FPDF_ANNOT_WIDGET or form is None:
        return ""
    if pdfium.FPDFAnnot_GetFormFieldType(form, annotation) not in FIELDS:
        return ""
    if pdfium.FPDFAnnot_GetFormFieldFlags(form, annotation) & PASSWORD:
        return ""
    return _string(pdfium.FPDFAnnot_GetFormFieldValue, form, annotation)


def _string(call: Any, *arguments: Any) -> str:
    """Return the UTF-16 string that a function of PDFium writes into a buffer."""
    size = call(*arguments, None, 0)
    buffer = ctypes.create_string_buffer(size)
    call(*arguments, ctypes.cast(buffer, ctypes.POINTER(pdfium.FPDF_WCHAR)), size)
    return (
        buffer.raw[: max(size - 2, 0)]
        .decode("utf-16-le", "replace")
        .replace("\r\n", "\n")
        .replace("\r", "\n")
    )
