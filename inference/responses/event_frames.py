"""Events of responses as Server-Sent Events: numbered, and padded if their client wants it."""

import hashlib
from typing import Any

import orjson

from inference.engine.feeds import NumberedFrame
from inference.responses.open_items import OpenItem
from persistence.types import JSON

Frame = tuple[str, JSON]
"""The name of an event and its data, without type and number."""

PADDED_TO = 16
"""Characters of a padded delta are a multiple of this."""

TEXT_DELTA = (
    b"event: response.output_text.delta\n"
    b'data: {"type":"response.output_text.delta","sequence_number":%d,"item_id":"%s","output_index":%d,'
    b'"content_index":0,"logprobs":[],"delta":%s%s}\n\n'
)

TERMINAL = {
    "completed": "response.completed",
    "incomplete": "response.incomplete",
    "failed": "response.failed",
    "cancelled": "response.incomplete",  # the edition has no event of its own for it
}

ENDS = frozenset(TERMINAL.values())


class FrameWriter:
    """Writes the events of the response `id`; with `pads`, deltas get characters that hide their length."""

    def __init__(self, id: str, *, pads: bool) -> None:
        self._pads = pads
        self._noise = hashlib.blake2b(id.encode(), digest_size=PADDED_TO).hexdigest()

    def numbered(self, frames: list[Frame], first: int) -> list[NumberedFrame]:
        """Return events, the first with that number."""
        return [self._numbered(number, *frame) for number, frame in enumerate(frames, first)]

    def text_deltas(self, opened: OpenItem, texts: list[str], first: int) -> list[NumberedFrame]:
        """Return deltas of a message's text, which have no logprobs, from a template."""
        id, index, padding = opened.id.encode(), opened.index, b""
        frames = []
        for number, text in enumerate(texts, first):
            if self._pads:
                padding = b',"obfuscation":"%s"' % self._padding(number, len(text)).encode()
            data = TEXT_DELTA % (number, id, index, orjson.dumps(text), padding)
            frames.append(NumberedFrame(number, data))
        return frames

    def _padding(self, number: int, length: int) -> str:
        """Return characters that make a delta's length a multiple; the same for each replay."""
        start = number % PADDED_TO
        return self._noise[start : start + PADDED_TO - length % PADDED_TO]

    def _numbered(self, number: int, name: str, data: JSON) -> NumberedFrame:
        event = {"type": name, "sequence_number": number, **data}
        if self._pads and name.endswith(".delta"):
            event["obfuscation"] = self._padding(number, len(data["delta"]))
        return NumberedFrame(number, sse(event), name in ENDS)


def sse(event: JSON) -> bytes:
    """Return an event of a stream."""
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), orjson.dumps(event))


def place_of(opened: OpenItem) -> JSON:
    """Return the members that name an item."""
    return {"item_id": opened.id, "output_index": opened.index}


def part_event(name: str, opened: OpenItem, part: JSON, index: int) -> Frame:
    """Return an event of a part of an item's content."""
    return f"response.{name}", {**place_of(opened), "content_index": index, "part": part}


def delta(name: str, opened: OpenItem, text: str, **more: Any) -> Frame:
    """Return the event of a piece of an item."""
    return f"response.{name}.delta", {**place_of(opened), **more, "delta": text}
