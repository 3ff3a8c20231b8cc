"""The text of a file, by its extension. Imported in the parser's process only.

Supported are OpenAI's types for file search except `.doc`, and `.csv` and `.xlsx`. A file of any
other type is accepted if its content is text. The extension decides the type: content that does
not match it is refused. Each type has a module, imported when its first file is read.
"""

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import BinaryIO

from inference.errors import DocumentError
from inference.parsing.formats.text import MAX_TEXT

MODULES = {
    ".docx": "docx",
    ".geojson": "json",
    ".htm": "html",
    ".html": "html",
    ".ipynb": "json",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".pdf": "pdf",
    ".pptx": "pptx",
    ".xhtml": "html",
    ".xlsx": "xlsx",
}

DECODED = frozenset({"html", "json", "text"})
"""Modules whose files are texts, in whichever charset."""

# fmt: off
TEXTS = frozenset(
    {
        ".c", ".cpp", ".cs", ".css", ".csv", ".go", ".java", ".js", ".md", ".php", ".py", ".rb", ".sh",
        ".tex", ".ts", ".txt"
    }
)
# fmt: on

# fmt: off
UNSUPPORTED = frozenset(
    {
        ".doc", ".ppt", ".xls", ".rtf", ".odt", ".epub", ".pages", ".key", ".numbers",
        ".7z", ".gz", ".parquet", ".rar", ".tar", ".zip",
        ".aac", ".avi", ".flac", ".m4a", ".mkv", ".mov", ".mp3", ".mp4", ".oga", ".ogg", ".wav", ".webm",
        ".avif", ".bmp", ".gif", ".heic", ".ico", ".jpeg", ".jpg", ".png", ".psd", ".tif", ".tiff", ".webp",
    }
)
# fmt: on
"""Types whose files never hold text that can be read."""


def reader(suffix: str, charset: str = "", *, replaces: bool = False) -> Callable[[BinaryIO], Iterator[str]]:
    """Return the function that reads files with the extension `suffix` (`.pdf`)."""
    name = MODULES.get(suffix, "text")
    read: Callable[..., Iterator[str]] = import_module(f"{__name__}.{name}").read
    return partial(read, charset=charset, replaces=replaces) if name in DECODED else read


def extract(file: BinaryIO, suffix: str, charset: str = "", *, replaces: bool = False) -> str:
    """Return the text of a file with the extension `suffix` (`.pdf`); raise DocumentError.

    `charset` is what the upload of a text declared; it is used if the text is not Unicode. If the reader
    `replaces`, wrong bytes of a text become U+FFFD.
    """
    if suffix in UNSUPPORTED:
        raise DocumentError(f"Files with the extension {suffix} are not supported.", code="unsupported_file")
    try:
        text = _join(reader(suffix, charset, replaces=replaces)(file))
    except UnicodeDecodeError as exc:
        raise _not_text(suffix) from exc
    # Lone surrogates cannot be stored as UTF-8.
    text = text.encode("utf-8", "replace").decode()
    if "\0" in text:
        raise _not_text(suffix)
    if not text.strip():
        raise DocumentError("The file holds no text.", code="invalid_file")
    return text


def _not_text(suffix: str) -> DocumentError:
    if suffix in TEXTS or suffix in MODULES:
        return DocumentError(
            "The file is not UTF-8, UTF-16 or ASCII text, and declares no other charset.", code="invalid_file"
        )
    shown = f"the extension {suffix}" if suffix else "no extension"
    return DocumentError(
        f"Files with {shown} are not supported, unless they are text.", code="unsupported_file"
    )


def _join(pieces: Iterator[str]) -> str:
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
