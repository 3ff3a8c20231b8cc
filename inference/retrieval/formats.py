"""The text of a file, by its type; runs in the parser's process only.

Supported are OpenAI's types for file search save `.doc`, and `.csv` and `.xlsx` beside them. A file
of another type is read as text, if text it is. The name says the type; content of another kind is
refused rather than guessed at.
"""

import zipfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import docx
import lxml.etree
import lxml.html
import pptx
import pypdfium2
import python_calamine
from docx.table import Table
from pptx.shapes.group import GroupShape

from astrolabe_server.inference.errors import DocumentError

MAX_TEXT = 40_000_000
"""Characters; more than 5,000,000 tokens, OpenAI's limit, in any language but the densest code."""

MAX_UNPACKED = 512 * 1024 * 1024
MAX_XML = 128 * 1024 * 1024

UNSUPPORTED = frozenset({".doc", ".ppt", ".xls", ".rtf", ".odt", ".epub", ".pages", ".key", ".numbers"})

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


def extract(file: BinaryIO, suffix: str) -> str:
    """The text of a file whose name ends in `suffix` (`.pdf`); DocumentError where there is none."""
    reader = READERS.get(suffix, _plain)
    if suffix in UNSUPPORTED:
        raise DocumentError(f"Files with the extension {suffix} are not supported.", code="unsupported_file")
    try:
        text = _joined(reader(file))
    except UnicodeDecodeError as exc:
        raise _not_text(suffix) from exc
    # What no UTF-8 can hold cannot be stored either.
    text = text.encode("utf-8", "replace").decode()
    if "\0" in text:
        raise _not_text(suffix)
    if not text.strip():
        raise DocumentError("The file holds no text.", code="invalid_file")
    return text


def _not_text(suffix: str) -> DocumentError:
    if suffix in TEXTS or suffix in READERS:
        return DocumentError("The file is not UTF-8, UTF-16 or ASCII text.", code="invalid_file")
    shown = f"the extension {suffix}" if suffix else "no extension"
    return DocumentError(
        f"Files with {shown} are not supported, unless they are text.", code="unsupported_file"
    )


def _joined(pieces: Iterator[str]) -> str:
    kept = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_TEXT:
            raise DocumentError(
                f"The file holds more than {MAX_TEXT} characters of text.", code="invalid_file"
            )
        kept.append(piece)
    return "".join(kept)


def _plain(file: BinaryIO) -> Iterator[str]:
    yield _decoded(file)


def _decoded(file: BinaryIO) -> str:
    """The text of the bytes, by their byte order mark, or by where their NULs are."""
    data = file.read(4 * MAX_TEXT + 1)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    if b"\0" not in data:
        return data.decode("utf-8-sig")
    sample = data[:4096]
    if sample[1::2].count(0) > len(sample) // 6 and not sample[::2].count(0):
        return data.decode("utf-16-le")
    if sample[::2].count(0) > len(sample) // 6 and not sample[1::2].count(0):
        return data.decode("utf-16-be")
    return data.decode("utf-8")


def _html(file: BinaryIO) -> Iterator[str]:
    text = _decoded(file)
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


def _pdf(file: BinaryIO) -> Iterator[str]:
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


def _docx(file: BinaryIO) -> Iterator[str]:
    _check_package(file, "word/")
    for block in docx.Document(file).iter_inner_content():
        if not isinstance(block, Table):
            yield block.text + "\n"
            continue
        for row in block.rows:
            yield "\t".join(cell.text for cell in row.cells) + "\n"


def _pptx(file: BinaryIO) -> Iterator[str]:
    _check_package(file, "ppt/")
    for slide in pptx.Presentation(file).slides:
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


def _xlsx(file: BinaryIO) -> Iterator[str]:
    _check_package(file, "xl/")
    workbook = python_calamine.CalamineWorkbook.from_object(file)
    for name in workbook.sheet_names:
        yield f"{name}\n"
        for row in workbook.get_sheet_by_name(name).iter_rows():
            line = "\t".join(str(cell) for cell in row).rstrip("\t")
            if line:
                yield line + "\n"
        yield "\n"


def _check_package(file: BinaryIO, folder: str) -> None:
    """DocumentError unless the file is an Office package with that folder, and unpacks to a sane size."""
    try:
        entries = zipfile.ZipFile(file).infolist()
    except zipfile.BadZipFile as exc:
        raise DocumentError(f"The file is no Office document: {exc}.", code="invalid_file") from exc
    finally:
        file.seek(0)
    if not any(entry.filename.startswith(folder) for entry in entries):
        raise DocumentError("The file is an archive of another kind than its name says.", code="invalid_file")
    unpacked = sum(entry.file_size for entry in entries)
    xml = sum(entry.file_size for entry in entries if entry.filename.endswith((".xml", ".rels")))
    if unpacked > MAX_UNPACKED or xml > MAX_XML:
        raise DocumentError("The file unpacks to more than this server reads.", code="invalid_file")


READERS: dict[str, Callable[[BinaryIO], Iterator[str]]] = {
    ".docx": _docx,
    ".htm": _html,
    ".html": _html,
    ".pdf": _pdf,
    ".pptx": _pptx,
    ".xlsx": _xlsx,
}

# fmt: off
TEXTS = frozenset(
    {
        ".c", ".cpp", ".cs", ".css", ".csv", ".go", ".java", ".js", ".json", ".md", ".php", ".py", ".rb",
        ".sh", ".tex", ".ts", ".txt"
    }
)
# fmt: on
