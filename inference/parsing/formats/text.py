"""Plain text, and how its encoding is told."""

from collections.abc import Iterator
from typing import BinaryIO

MAX_TEXT = 40_000_000
"""Characters; more than 5,000,000 tokens, OpenAI's limit, in any language but the densest code."""


def read(file: BinaryIO) -> Iterator[str]:
    """The whole text; UnicodeDecodeError for what is none."""
    yield decoded(file)


def decoded(file: BinaryIO) -> str:
    """The text of UTF-8 or UTF-16 bytes, told by their byte order mark, or by where their NULs are."""
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
