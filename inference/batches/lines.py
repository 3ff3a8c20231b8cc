"""The lines of a batch's input file: cut out of the file's pieces, parsed, and checked."""

from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from persistence.types import JSON
from spec.body import parse_json
from spec.errors import InvalidRequest

ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/moderations",
    "/v1/responses",
)
"""Paths of the operations that a batch may call."""

LONGEST_CUSTOM_ID = 512

BLANK = b" \t\r"
"""What a blank line may have: JSON's white space."""

REFUSED_FIELDS = {
    "stream": "Streaming is not supported in batches: remove 'stream', or set it to false.",
    "background": "Responses in the background are not supported in batches: remove 'background'.",
}
"""Fields of a body that make no sense where nobody waits, if they are true."""


@dataclass(frozen=True, slots=True)
class RawLine:
    """A line that is not blank.

    `number` counts the file's lines from 1. `start` and `end` are offsets in the file; `raw` is None for
    a line that is longer than allowed.
    """

    number: int
    start: int
    end: int
    raw: bytes | None


class LineSplitter:
    """Cuts pieces of a file into lines, of which it holds at most `longest` bytes."""

    def __init__(self, longest: int, start: int = 0) -> None:
        self._longest = longest
        self._start = self._end = start
        self._number = 1
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterator[RawLine]:
        """Yield the lines that end in the next piece."""
        first, *others = piece.split(b"\n")
        self._add(first)
        for part in others:
            self._end += 1
            yield from self._take()
            self._add(part)

    def finish(self) -> Iterator[RawLine]:
        """Yield the last line, if the file does not end with a line break."""
        yield from self._take()

    def _add(self, part: bytes) -> None:
        self._end += len(part)
        self._size += len(part)
        if self._size <= self._longest:
            self._parts.append(part)
        else:
            self._parts.clear()

    def _take(self) -> Iterator[RawLine]:
        raw = b"".join(self._parts) if self._size <= self._longest else None
        if raw is None or raw.strip(BLANK):
            yield RawLine(self._number, self._start, self._end, raw)
        self._start = self._end
        self._number += 1
        self._parts.clear()
        self._size = 0


async def split_lines(pieces: AsyncIterator[bytes], longest: int, start: int = 0) -> AsyncIterator[RawLine]:
    """Yield the lines of a file whose pieces begin at the offset `start`."""
    splitter = LineSplitter(longest, start)
    async for piece in pieces:
        for line in splitter.feed(piece):
            yield line
    for line in splitter.finish():
        yield line


def checked_line(raw: bytes, endpoint: str, check_body: Callable[[Any], None]) -> JSON:
    """Return a line as Python data; raise InvalidRequest, with a batch error's code."""
    line = _parsed(raw)
    for name in ("custom_id", "method", "url", "body"):
        if line.get(name) is None:
            raise InvalidRequest(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
    _check_envelope(line, endpoint)
    body = line["body"]
    for name, message in REFUSED_FIELDS.items():
        if body.get(name):
            raise InvalidRequest(message, f"body.{name}", "unsupported_parameter")
    try:
        check_body(body)
    except InvalidRequest as exc:
        param = "body" if exc.param is None else f"body.{exc.param}"
        raise InvalidRequest(exc.message, param, exc.code or "invalid_request") from exc
    return line


def _parsed(raw: bytes) -> JSON:
    if raw.startswith(BOM_UTF8):
        message = "This line begins with a byte order mark: save the file as UTF-8 without one."
        raise InvalidRequest(message, None, "invalid_json_line")
    try:
        line = parse_json(raw)
    except InvalidRequest as exc:
        message = f"This line is not parseable as valid JSON. {exc.message}"
        raise InvalidRequest(message, exc.param, "invalid_json_line") from exc
    if not isinstance(line, dict):
        raise InvalidRequest("This line is not a JSON object.", None, "invalid_json_line")
    return line


def _check_envelope(line: JSON, endpoint: str) -> None:
    custom_id, method, url = line["custom_id"], line["method"], line["url"]
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= LONGEST_CUSTOM_ID:
        message = f"Invalid 'custom_id': expected a string of 1 to {LONGEST_CUSTOM_ID} characters."
        raise InvalidRequest(message, "custom_id", "invalid_value")
    if method != "POST":
        raise InvalidRequest("Invalid 'method': only 'POST' is supported.", "method", "invalid_method")
    if url != endpoint:
        message = f"The URL provided for this request does not match the batch endpoint '{endpoint}'."
        raise InvalidRequest(message, "url", "invalid_url")
    if not isinstance(line["body"], dict):
        raise InvalidRequest("Invalid type for 'body': expected an object.", "body", "invalid_type")
