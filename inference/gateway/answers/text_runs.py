"""Read runs of chunks that differ only in their text, without parsing each of them."""

from typing import NamedTuple

import orjson

from inference.gateway.answers import sse
from persistence.types import JSON

_NEVER_BARE = bytes(range(32)) + b'"\\'


class Event(NamedTuple):
    """One chunk, and the provider's bytes of it; None if the chunk was changed."""

    chunk: JSON
    raw: bytes | None

    def frame(self) -> bytes:
        """Return the chunk as a Server-Sent Event."""
        return sse.frame(self.chunk) if self.raw is None else b"data: " + self.raw + b"\n\n"


class Template(NamedTuple):
    """A chunk of text and the bytes around its text; a chunk that differs only in its text is not parsed."""

    head: bytes
    tail: bytes
    joint: bytes
    chunk: JSON

    def read(self, payload: bytes) -> Event | None:
        """Return the event of a payload that matches, None for any other."""
        run = b"data: %b\n\n" % payload
        if not (run.startswith(self.head) and run.endswith(self.tail)):
            return None
        if len(run) < len(self.head) + len(self.tail) or not is_bare(run[len(self.head) : -len(self.tail)]):
            return None
        return Event(self.split(run)[0], payload)

    def split(self, run: bytes) -> list[JSON]:
        """Return the chunks of events that all match."""
        texts = run[len(self.head) : -len(self.tail)].decode().split(self.joint.decode())
        chunk, choice = self.chunk, self.chunk["choices"][0]
        if "delta" in choice:
            return [{**chunk, "choices": [{**choice, "delta": {"content": text}}]} for text in texts]
        return [{**chunk, "choices": [{**choice, "text": text}]} for text in texts]

    @classmethod
    def of(cls, raw: bytes, chunk: JSON) -> "Template | None":
        """Return the template of a chunk, None if it is more than a piece of text."""
        if len(chunk["choices"]) != 1:
            return None
        choice = chunk["choices"][0]
        delta = choice.get("delta")
        text = choice.get("text") if delta is None else delta.get("content")
        is_text = delta is None or delta.keys() == {"content"}
        if not text or not is_text or choice.get("finish_reason") is not None or choice.get("logprobs"):
            return None
        for opening in (b'"content":', b'"content": ', b'"text":', b'"text": '):
            around = opening + orjson.dumps(text)
            if raw.count(around) == 1:
                start = raw.index(around)
                head = b"data: " + raw[: start + len(opening) + 1]
                tail = raw[start + len(around) - 1 :] + b"\n\n"
                return cls(head, tail, tail + head, chunk)
        return None


def is_bare(text: bytes) -> bool:
    """Return whether the bytes stand in JSON and in an event as they are."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return len(text.translate(None, _NEVER_BARE)) == len(text)
