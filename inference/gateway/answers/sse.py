"""Read and write Server-Sent Events, as the HTML standard defines them."""

import codecs

import orjson

from persistence.types import JSON

DONE = b"data: [DONE]\n\n"
LIMIT = 16 * 1024 * 1024
"""Bytes of one event, at most; without a limit an endless event would fill the memory."""


_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")


def is_stream(body: bytes) -> bool:
    """Return whether a whole body is events; no JSON begins as they do."""
    return body[:1] not in b"{[" and body[:1024].lstrip(b"\xef\xbb\xbf \r\n\t").startswith(_FIELDS)


class InvalidEventStream(ValueError):
    """The bytes are not Server-Sent Events."""


class EventParser:
    """Splits a byte stream, which arrives in any pieces, into the data of its events.

    LF, CRLF and CR end lines. A byte order mark, comments, events without data and unknown fields are
    skipped. A line that is a bare JSON object counts as data, because some proxies report errors so.
    """

    def __init__(self) -> None:
        self._beginning = b""
        self._line: list[bytes] = []
        self._line_size = 0
        self._has_cr = False
        self._data: list[bytes] = []
        self._size = 0
        self._started = False

    @property
    def is_idle(self) -> bool:
        """Whether the last piece ended with an event."""
        return self._started and self._is_between_events

    @property
    def _is_between_events(self) -> bool:
        return not (self._line or self._has_cr or self._data)

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the data of each event that `piece` completes; InvalidEventStream if one is too long."""
        if not self._started:
            piece = self._without_mark(piece)
        if self._is_between_events and piece.endswith(b"}\n\n") and b"\r" not in piece:
            frames = piece[:-2].split(b"\n\ndata: ")
            if piece.startswith(b"data: ") and piece.count(b"\n") == 2 * len(frames):
                frames[0] = frames[0][6:]
                return frames  # the fast path, for nearly every piece
        return self._lines(piece)

    def end(self) -> list[bytes]:
        """Return the data of a last event without a blank line after it."""
        events = self._lines(self._beginning + b"\n\n")
        self._beginning = b""
        return events

    def _without_mark(self, piece: bytes) -> bytes:
        piece, self._beginning = self._beginning + piece, b""
        if len(piece) < 3 and codecs.BOM_UTF8.startswith(piece):
            self._beginning = piece
            return b""
        self._started = True
        return piece.removeprefix(codecs.BOM_UTF8)

    def _lines(self, piece: bytes) -> list[bytes]:
        """Read a piece; that of a long line is only kept, so that the line costs no more than its length."""
        if self._has_cr:
            piece = b"\r" + piece
        self._has_cr = piece.endswith(b"\r")  # an LF may follow in the next piece
        if self._has_cr:
            piece = piece[:-1]
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *others = piece.split(b"\n")
        self._keep(first)
        events = []
        for begun in others:
            line = b"".join(self._line)
            self._line, self._line_size = [], 0
            self._keep(begun)
            if line:
                self._field(line)
            elif self._data:
                events.append(b"\n".join(self._data))
                self._data, self._size = [], 0
        if self._size + self._line_size > LIMIT:
            raise InvalidEventStream("an event does not end")
        return events

    def _keep(self, part: bytes) -> None:
        """Add to the line that has no end yet."""
        if part:
            self._line.append(part)
            self._line_size += len(part)

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        elif name.startswith(b"{"):
            self._data.append(line)
        else:
            return
        self._size += len(line)


def frame(value: JSON) -> bytes:
    """Return `value` as one event."""
    return b"data: " + orjson.dumps(value) + b"\n\n"
