"""The text of a file, by its type; runs in the parser's process only.

Supported are OpenAI's types for file search save `.doc`, and `.csv` and `.xlsx` beside them. A file
of another type is read as text, if text it is. The name says the type; content of another kind is
refused rather than guessed at. There is a module for each type, imported when its first file comes.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import BinaryIO

from inference.errors import DocumentError
from inference.parsing.formats.text import MAX_TEXT

MODULES = {
    ".docx": "docx",
    ".htm": "html",
    ".html": "html",
    ".pdf": "pdf",
    ".pptx": "pptx",
    ".xlsx": "xlsx",
}

# fmt: off
TEXTS = frozenset(
    {
        ".c", ".cpp", ".cs", ".css", ".csv", ".go", ".java", ".js", ".json", ".md", ".php", ".py", ".rb",
        ".sh", ".tex", ".ts", ".txt"
    }
)
# fmt: on

UNSUPPORTED = frozenset({".doc", ".ppt", ".xls", ".rtf", ".odt", ".epub", ".pages", ".key", ".numbers"})


def reader(suffix: str) -> Callable[[BinaryIO], Iterator[str]]:
    """What reads files whose names end in `suffix` (`.pdf`); the first call imports its library."""
    module = import_module(f"{__name__}.{MODULES.get(suffix, 'text')}")
    read: Callable[[BinaryIO], Iterator[str]] = module.read
    return read


def extract(file: BinaryIO, suffix: str) -> str:
    """The text of a file whose name ends in `suffix` (`.pdf`); DocumentError where there is none."""
    if suffix in UNSUPPORTED:
        raise DocumentError(f"Files with the extension {suffix} are not supported.", code="unsupported_file")
    try:
        text = _joined(reader(suffix)(file))
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
    if suffix in TEXTS or suffix in MODULES:
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
