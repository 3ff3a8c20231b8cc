"""Plain text in UTF-8, UTF-16 or a declared charset."""

from collections.abc import Iterator
from typing import BinaryIO

from inference.parsing.formats.charsets import declared, legacy_codec

MAX_TEXT = 40_000_000
"""Characters; more than 5,000,000 tokens, OpenAI's limit, except for very dense code."""


def read(file: BinaryIO, charset: str, *, replaces: bool = False) -> Iterator[str]:
    """Yield the whole text; raise UnicodeDecodeError for anything else."""
    yield decode(file, charset, replaces=replaces)


def decode(file: BinaryIO, charset: str, *, replaces: bool = False) -> str:
    """Return the text; `charset` is what its upload declared, or empty.

    Wrong bytes raise UnicodeDecodeError, unless it `replaces` them. UTF-16 is detected by a byte order mark
    or by where NUL bytes are. What is valid UTF-8 is read as such: many files were converted without a
    change of their declaration.
    """
    data = file.read(4 * MAX_TEXT + 1)
    errors = "replace" if replaces else "strict"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors)
    if b"\0" not in data:
        return _without_nul(data, charset, errors)
    sample = data[:4096]
    if sample[1::2].count(0) > len(sample) // 6 and not sample[::2].count(0):
        return data.decode("utf-16-le", errors)
    if sample[::2].count(0) > len(sample) // 6 and not sample[1::2].count(0):
        return data.decode("utf-16-be", errors)
    return data.decode("utf-8", errors)


def _without_nul(data: bytes, charset: str, errors: str) -> str:
    codec = legacy_codec(charset) or legacy_codec(declared(data))
    if codec == "iso2022_jp":  # Its bytes are valid UTF-8.
        return data.decode(codec, "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode(codec, "replace") if codec else data.decode("utf-8-sig", errors)
