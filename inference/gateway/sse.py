"""Server-Sent Events of OpenAI's wire: cutting a byte stream into whole frames, reading and writing them."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

import orjson

DONE = b"data: [DONE]\n\n"
LIMIT = 16 * 1024 * 1024
"""Bytes that one frame may have; a provider that never ends a frame must not fill the memory."""


class NotEvents(ValueError):
    """The bytes are no Server-Sent Events."""


async def whole_frames(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same bytes, cut so that each item holds one or more whole frames.

    Nothing is changed or copied where a piece ends with a frame, as it mostly does. A stream may
    end without the last blank line; what is left of it then comes as the last item. NotEvents if a
    frame is longer than LIMIT.
    """
    rest = b""
    async for piece in pieces:
        data = rest + piece if rest else piece
        cut = _end_of_last_frame(data)
        rest = data[cut:]
        if len(rest) > LIMIT:
            raise NotEvents("an event does not end")
        if cut:
            yield data[:cut] if rest else data
    if rest.strip():
        yield rest.rstrip(b"\r\n") + b"\n\n"


def _end_of_last_frame(data: bytes) -> int:
    """Where the last whole frame ends, 0 for none; providers end lines with LF or CRLF."""
    if data.endswith(b"\n\n"):
        return len(data)
    lf, crlf = data.rfind(b"\n\n"), data.rfind(b"\n\r\n")
    return max(lf + 2 if lf >= 0 else 0, crlf + 3 if crlf >= 0 else 0)


def payloads(frames: bytes) -> Iterator[bytes]:
    """The `data` of each frame in whole frames; comments and frames without data give nothing.

    NotEvents for a line that is no field of an event.
    """
    if b"\r" in frames:
        frames = frames.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for frame in frames.split(b"\n\n"):
        if not frame:
            continue
        if frame.startswith(b"data: ") and b"\n" not in frame:  # nearly every frame
            yield frame[6:]
        elif data := [line for line in map(_data, frame.split(b"\n")) if line is not None]:
            yield b"\n".join(data)


def check(frames: bytes) -> None:
    """NotEvents unless each frame's data looks like a JSON object or is `[DONE]`; parses nothing."""
    if _is_plain(frames.removesuffix(DONE)):
        return
    for payload in payloads(frames):
        if not (payload.startswith(b"{") and payload.endswith(b"}")) and payload != b"[DONE]":
            raise NotEvents(f"{payload[:60]!r} is no JSON object")


def _is_plain(frames: bytes) -> bool:
    """Whether all frames are of the form that nearly every provider sends; a few scans in C."""
    ends = frames.startswith(b"data: {") and frames.endswith(b"}\n\n")
    return ends and frames.count(b"}\n\ndata: {") + 1 == frames.count(b"\n\n")


def _data(line: bytes) -> bytes | None:
    name, _, value = line.partition(b":")
    if name == b"data":
        return value.removeprefix(b" ")
    if name in (b"", b"event", b"id", b"retry"):
        return None
    raise NotEvents(f"{bytes(line[:60])!r} is no line of an event stream")


def frame(value: dict[str, Any]) -> bytes:
    """`value` as one frame."""
    return b"data: " + orjson.dumps(value) + b"\n\n"
