"""Plain text in UTF-8 or UTF-16."""

from collections.abc import Iterator
from typing import BinaryIO

MAX_TEXT = 40_000_000
"""Characters; more than 5,000,000 tokens, OpenAI's limit, except for very dense code."""


def read(file: BinaryIO) -> Iterator[str]:
    """Yield the whole text; raise UnicodeDecodeError for anything else."""
    yield decode(file)


def decode(file: BinaryIO) -> str:
    """Return the text; the encoding is detected by a byte order mark or by where NUL bytes are."""
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
