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
        self._rest = b""
        self._data: list[bytes] = []
        self._started = False
        self._size = 0

    @property
    def is_idle(self) -> bool:
        """Whether the last piece ended with an event."""
        return self._started and not self._rest and not self._data

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the data of each event that `piece` completes; InvalidEventStream if one is too long."""
        if not self._started:
            piece = self._without_mark(piece)
        if not self._rest and not self._data and piece.endswith(b"}\n\n") and b"\r" not in piece:
            frames = piece[:-2].split(b"\n\ndata: ")
            if piece.startswith(b"data: ") and piece.count(b"\n") == 2 * len(frames):
                frames[0] = frames[0][6:]
                return frames  # the fast path, for nearly every piece
        return self._lines(self._rest + piece)

    def end(self) -> list[bytes]:
        """Return the data of a last event without a blank line after it."""
        events = self._lines(self._rest + b"\n\n")
        self._rest = b""
        return events

    def _without_mark(self, piece: bytes) -> bytes:
        piece, self._rest = self._rest + piece, b""
        if len(piece) < 3 and codecs.BOM_UTF8.startswith(piece):
            self._rest = piece
            return b""
        self._started = True
        return piece.removeprefix(codecs.BOM_UTF8)

    def _lines(self, data: bytes) -> list[bytes]:
        held = b""
        if data.endswith(b"\r"):  # an LF may follow in the next piece
            data, held = data[:-1], b"\r"
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, last = data.split(b"\n")
        self._rest = last + held
        events = []
        for line in lines:
            if line:
                self._field(line)
            elif self._data:
                events.append(b"\n".join(self._data))
                self._data, self._size = [], 0
        if self._size + len(self._rest) > LIMIT:
            raise InvalidEventStream("an event does not end")
        return events

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
