"""Read a provider's streamed completion: bytes in, OpenAI's chunks out, with exactly one `[DONE]`."""

import codecs
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import orjson

from inference.errors import ProviderError
from inference.gateway import failures
from inference.gateway.answers import normalize, sse, tolerant_json
from inference.gateway.answers.chunks import CHAT_CHUNK, TEXT_CHUNK, ChunkNormalizer
from inference.gateway.answers.text_runs import Event, Template, is_bare
from inference.gateway.driver import ConnectionLost, ProviderResponse
from inference.gateway.paths import CHAT
from inference.gateway.routing.targets import Target
from persistence.large_json import Pauses
from persistence.types import JSON

PART = 16 * 1024
"""Bytes of events that are read at once."""

PAUSE_AFTER = 0.001
"""Seconds of work with chunks after which other tasks have their turn."""

LONGEST_DONE = 32
"""Bytes of `[DONE]` with blanks around it, at most."""

MAX_TEMPLATES = 4
"""Templates that are made for one stream; if its chunks go on to differ, each of them is parsed."""


class CompletionStream:
    """The events of one streamed completion of a target.

    A body that is a JSON object instead of events is read as a whole answer in one chunk.
    """

    def __init__(self, target: Target, path: str, request: JSON) -> None:
        self._target = target
        self._path = path
        self._filter = target.filter
        self._request = request
        self._normalizer = ChunkNormalizer(target, CHAT_CHUNK if path == CHAT else TEXT_CHUNK)
        self._parser = sse.EventParser()
        self._whole: bytearray | None = None
        self._begun = False
        self._mark = b""
        self._held: list[Event] = []
        self._template: Template | None = None
        self._templates = 0
        self._error: ProviderError | None = None
        self.is_done = False

    def frames(self, piece: bytes) -> bytes:
        """Return the chunks that `piece` completes as Server-Sent Events.

        Consecutive chunks that differ only in their text are passed on unparsed, after one scan.
        """
        whole: list[bytes] = []
        for section, template in self._sections(piece):
            if template is not None:
                whole.append(section)
            else:
                whole += [event.frame() for event in self._feed_behind(section, whole)]
        return whole[0] if len(whole) == 1 else b"".join(whole)

    def chunks(self, piece: bytes) -> list[JSON]:
        """Return the chunks that `piece` completes as objects.

        Consecutive chunks that differ only in their text are read by one split.
        """
        whole: list[JSON] = []
        for section, template in self._sections(piece):
            if template is not None:
                whole += template.split(section)
            else:
                whole += [event.chunk for event in self._feed_behind(section, whole)]
        return whole

    def _sections(self, piece: bytes) -> Iterator[tuple[bytes, Template | None]]:
        """Yield the piece in sections, with the template if all chunks of a section match it."""
        start = 0
        while start < len(piece) and not self.is_done and self._error is None:
            end, template = self._end_of_run(piece, start), self._template
            if not end:
                # One event while there is no template yet, else all of them.
                cut = piece.find(b"\n\n", start) + 2 if template is None and self._templates == 0 else 0
                end, template = cut if cut > 1 else len(piece), None
            yield piece[start:end] if start or end < len(piece) else piece, template
            start = end

    def _feed_behind(self, section: bytes, before: Sequence[Any]) -> list[Event]:
        """Return the events of a section; an error behind what was read `before` is kept for `check`."""
        try:
            return self.feed(section)
        except ProviderError as exc:
            if not before:
                raise
            self._error = exc
            return []

    def _end_of_run(self, piece: bytes, start: int) -> int:
        """Return the end of the chunks from `start` on that match the template, 0 if none does."""
        template = self._template
        if template is None or self._held or not self._parser.is_idle:
            return 0
        if not piece.startswith(template.head, start):
            return 0
        end = piece.rfind(template.tail, start) + len(template.tail)
        if end <= start + len(template.head):
            return 0
        # Blanks keep apart what would be whole characters together.
        texts = piece[start + len(template.head) : end - len(template.tail)].replace(template.joint, b" ")
        if not is_bare(texts) or self._filter.may_be_in(piece[start:end]):
            return 0
        return end

    def check(self) -> None:
        """Raise the error that followed the last returned chunks."""
        if self._error is not None:
            raise self._error

    def feed(self, piece: bytes) -> list[Event]:
        """Return the chunks that a piece of the body completes.

        Raises ProviderError if the body is unreadable; `check` raises the error that follows returned chunks.
        """
        if not self._begun:
            piece, self._mark = self._mark + piece, b""
            start = piece.lstrip(b"\xef\xbb\xbf \r\n\t")
            if not start:
                if codecs.BOM_UTF8.startswith(piece):
                    self._mark = piece
                return []
            self._begun = True
            if start[:1] == b"<":
                raise failures.unreadable("it is a page of HTML")
            if start[:1] in (b"{", b"["):
                self._whole = bytearray()
        if self._whole is not None:
            self._whole += piece
            if len(self._whole) > sse.LIMIT:
                raise failures.unreadable("it is too long")
            return []
        try:
            payloads = self._parser.feed(piece)
        except sse.InvalidEventStream as exc:
            raise failures.unreadable(str(exc)) from exc
        return self._read(payloads)

    def end(self) -> list[Event]:
        """Return the chunks that the end of the body completes; raise ProviderBroken if it came too early."""
        if self.is_done:
            return []
        if self._whole is not None:
            return self._from_whole(bytes(self._whole))
        events = self._read(self._parser.end())
        if self.is_done or self._error is not None:
            return events
        if not self._normalizer.is_finished:
            empty = failures.unreadable("it has no chunks" if self._begun else "it is empty")
            raise failures.cut_off() if self._normalizer.has_chunks else empty
        self.is_done = True
        return [*events, *self._release()]

    def whole(self, body: bytes) -> list[JSON]:
        """Return the chunks of a whole body; raise a ProviderError if it failed or was cut off."""
        events = self.feed(body)
        self.check()
        events += self.end()
        self.check()
        return [event.chunk for event in events]

    def is_whole_without_done(self) -> bool:
        """Return whether all choices are finished, so that losing the connection now loses nothing."""
        return self._whole is None and self._normalizer.is_finished

    def _read(self, payloads: list[bytes]) -> list[Event]:
        events: list[Event] = []
        try:
            for payload in payloads:
                if self.is_done:
                    break
                events += self._payload(payload)
        except ProviderError as exc:
            if not events:
                raise
            self._error = exc  # raised once the events before it have been read
        return events

    def _payload(self, payload: bytes) -> list[Event]:
        if len(payload) > LONGEST_DONE or payload.strip() not in (b"[DONE]", b""):
            return self._chunk(payload)
        if not payload.strip():
            return []
        if not self._normalizer.has_chunks:
            raise failures.unreadable("it has no chunks")
        self.is_done = True
        return [*self._release(), *(Event(chunk, None) for chunk in self._normalizer.closing())]

    def _chunk(self, payload: bytes) -> list[Event]:
        if self._template is not None and not self._held:
            event = self._template.read(payload)
            if event is not None and not self._filter.may_be_in(payload):
                return [event]
        value, raw = self._parse(payload)
        if not isinstance(value, dict) or not value.keys() & {"choices", "usage"}:
            if isinstance(value, dict):
                return []  # a ping, or another event that OpenAI does not send
            raise failures.unreadable("an event is not a JSON object")
        changed = self._normalizer.take(value)
        event = Event(value, None if changed else raw)
        released = self._release() if self._held else []
        if b'"tool_calls"' in payload and any(_opens_call(choice) for choice in value["choices"]):
            self._held = [event]  # the rest of the call's name may follow
            return released
        self._learn(event)
        return [*released, event] if released else [event]

    def _release(self) -> list[Event]:
        held, self._held = self._held, []
        return [
            event if event.raw is None or not _renamed(event) else Event(event.chunk, None) for event in held
        ]

    def _parse(self, payload: bytes) -> tuple[Any, bytes | None]:
        try:
            value = orjson.loads(payload)
            raw = None if b"\n" in payload else payload
        except orjson.JSONDecodeError:
            raw = None
            try:
                value = tolerant_json.loads(payload)
            except (ValueError, RecursionError) as exc:
                raise failures.unreadable("an event is not JSON") from exc
        if failures.is_error(value):
            raise failures.from_value(self._target, value)
        if self._filter.may_be_in(payload):
            return self._filter.value(value), None
        return value, raw

    def _learn(self, event: Event) -> None:
        """Make a template of a chunk of text, unless half a character waits for the next one."""
        if self._normalizer.holds_text:
            self._template = None
        elif event.raw is not None and self._templates < MAX_TEMPLATES:
            template = Template.of(event.raw, event.chunk)
            if template is not None:
                self._templates += 1
                self._template = template

    def _from_whole(self, body: bytes) -> list[Event]:
        """Return the chunks of a whole answer to a request for a stream."""
        answer = normalize.parsed(self._target, body)
        self.is_done = True
        if self._path == CHAT:
            return [Event(chunk, None) for chunk in normalize.as_chunks(answer, self._target, self._request)]
        answer = normalize.text_completion(answer, self._target)
        return [Event(answer, None)]


def _opens_call(choice: JSON) -> bool:
    delta = choice.get("delta") or {}
    return any("id" in call for call in delta.get("tool_calls", ()))


def _renamed(event: Event) -> bool:
    return event.raw is not None and orjson.loads(event.raw) != event.chunk


def _parts(piece: bytes) -> Iterator[bytes]:
    """Yield a piece in parts, which end with an event where they can."""
    start = 0
    while len(piece) - start > PART:
        end = piece.rfind(b"\n\n", start, start + PART) + 2
        end = end if end > 1 else start + PART
        yield piece[start:end]
        start = end
    yield piece[start:]


async def read_frames(response: ProviderResponse, stream: CompletionStream) -> AsyncGenerator[bytes, None]:
    """Yield the chunks as Server-Sent Events, whole events only, up to and with one `[DONE]`."""
    async with aclosing(response):
        try:
            async for piece in response:
                frames = stream.frames(piece)
                if stream.is_done:
                    yield frames + sse.DONE
                    await response.drain()
                    return
                if frames:
                    yield frames
                stream.check()
        except ConnectionLost:
            if not stream.is_whole_without_done():
                raise
        frames = b"".join([event.frame() for event in stream.end()])
        if frames:
            yield frames
        stream.check()
        yield sse.DONE


async def read_chunks(
    response: ProviderResponse, stream: CompletionStream
) -> AsyncGenerator[list[JSON], None]:
    """Yield the chunks as objects, those together that arrive together.

    Other tasks have their turn after each millisecond, also of what is done with the chunks.
    """
    pauses = Pauses(PAUSE_AFTER)
    async with aclosing(response):
        try:
            async for piece in response:
                pauses.restart()
                for part in _parts(piece):
                    chunks = stream.chunks(part)
                    if chunks:
                        yield chunks
                        await pauses.pause_if_due()
                    stream.check()
                    if stream.is_done:
                        await response.drain()
                        return
        except ConnectionLost:
            if not stream.is_whole_without_done():
                raise
        chunks = [event.chunk for event in stream.end()]
        if chunks:
            yield chunks
        stream.check()
