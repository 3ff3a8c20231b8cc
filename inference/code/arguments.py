"""Reads the code of a call out of its arguments, `{"code": "print(1)"}`, while they arrive."""

import re

_BEGINNING = re.compile(r'"code"\s{0,16}:\s{0,16}"')

_LONGEST_BEGINNING = 40
"""Characters of a beginning, at most: only so many are searched again when more arrive."""

_PIECE = re.compile(
    r'(?P<plain>[^"\\]+)'
    r"|\\u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|\\u(?P<unit>[0-9a-fA-F]{4})"
    r"|\\(?P<escape>[^u])",
    re.DOTALL,
)

_OPEN = re.compile(r"\\(u([0-9a-fA-F]{0,3}|[dD][89abAB][0-9a-fA-F]{2}(\\(u[0-9a-fA-F]{0,3})?)?))?")
"""An escape that more text may complete, also to a character of two."""

_SURROGATE = re.compile("[\ud800-\udfff]")

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "/": "/", "\\": "\\", '"': '"'}


class CodeReader:
    """Returns the code that each piece of the arguments adds; however they are cut, the sum is the same.

    Arguments that are no JSON object are code themselves: some models write them so.
    """

    __slots__ = ("_blank", "_ended", "_held", "_in_code", "_is_object", "_is_plain", "_parts")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._held = ""
        self._blank: list[str] = []
        self._in_code = self._is_object = self._is_plain = self._ended = False

    @property
    def code(self) -> str:
        """All code so far."""
        return "".join(self._parts)

    def read(self, piece: str) -> str:
        """Return the code that a piece adds."""
        added = "" if self._ended else self._read(piece)
        self._parts.append(added)
        return added

    def _read(self, piece: str) -> str:
        text, self._held = self._held + piece, ""
        if not self._in_code and not self._is_plain:
            text = self._begin(text)
        if self._is_plain:
            return without_lone_surrogates(text)
        return self._decode(text) if self._in_code else ""

    def _begin(self, text: str) -> str:
        """Return the text behind the beginning of the code, or hold it back."""
        if not self._is_object and not text.strip():
            self._blank.append(text)
            return ""
        if not self._is_object and not text.lstrip().startswith("{"):
            self._is_plain = True
            return "".join((*self._blank, text))
        self._is_object = True
        found = _BEGINNING.search(text)
        if found is None:
            self._held = text[-_LONGEST_BEGINNING:]
            return ""
        self._in_code = True
        return text[found.end() :]

    def _decode(self, text: str) -> str:
        parts: list[str] = []
        at = 0
        while at < len(text):
            if text[at] == '"':
                self._ended = True
                break
            if text[at] == "\\" and _OPEN.fullmatch(text, at):
                self._held = text[at:]
                break
            found = _PIECE.match(text, at)
            if found is None:  # `\u` without digits
                parts.append(text[at])
                at += 1
                continue
            parts.append(_decoded(found))
            at = found.end()
        return "".join(parts)


def code_of(arguments: str) -> str:
    """Return the code of a call's whole arguments; "" if they have none."""
    return CodeReader().read(arguments)


def _decoded(found: re.Match[str]) -> str:
    if found["plain"]:
        return without_lone_surrogates(found["plain"])
    if found["high"]:
        return chr(0x10000 + ((int(found["high"], 16) - 0xD800) << 10) + int(found["low"], 16) - 0xDC00)
    if found["unit"]:
        return without_lone_surrogates(chr(int(found["unit"], 16)))
    escape: str = found["escape"]
    return _ESCAPES.get(escape, "\\" + escape)  # as in a regular expression that was not escaped


def without_lone_surrogates(text: str) -> str:
    """Return a text that UTF-8 can encode."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
