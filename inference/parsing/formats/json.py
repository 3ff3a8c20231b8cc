"""JSON."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from inference.parsing.formats.text import decode

PAIR = r"u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
ESCAPE = re.compile(rf"\\(?:{PAIR}|u[0-9a-fA-F]{{4}}|.)", re.DOTALL)
SPACES = {r"\n": "\n", r"\r": "\r", r"\t": "\t", r"\b": " ", r"\f": " "}


def read(file: BinaryIO, charset: str, *, replaces: bool = False) -> Iterator[str]:
    r"""Yield the text with escapes of letters and spaces decoded: `\u00f6` as ö.

    Otherwise the escape's letters would be indexed as part of a word. Layout and structure stay.
    """
    yield ESCAPE.sub(_decoded, decode(file, charset, replaces=replaces))


def _decoded(match: re.Match[str]) -> str:
    escape = match[0]
    if escape[1] != "u":
        return SPACES.get(escape, escape)
    units = bytes.fromhex(escape[2:6] + escape[8:12])
    try:
        text = units.decode("utf-16-be")
    except UnicodeDecodeError:  # half of a surrogate pair
        return escape
    return text if text.isprintable() and text not in ('"', "\\") else escape
