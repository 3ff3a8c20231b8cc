"""The loop of turns with a model.

A turn is one answer of the model: text, calls of tools, or both. Calls of the server's tools are answered
within the turn, and the next turn follows. The loop ends with an answer without calls, or with a call that
only the caller can answer; then it is started again with the outputs in the state.
"""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import orjson

from inference.engine.calls import calls_left, run_calls
from inference.engine.citations import CitationReader
from inference.engine.events import (
    Event,
    ItemDelta,
    ItemFinished,
    ItemStarted,
    TurnFinished,
    TurnStarted,
    started,
)
from inference.engine.items import (
    APPROVAL_REQUEST,
    FUNCTION_CALL,
    GROWING_PARTS,
    Call,
    Item,
    Message,
    Reasoning,
)
from inference.engine.state import RunState
from inference.engine.tools import Toolbox
from inference.errors import ProviderBroken
from inference.gateway.chat_members import PHASE
from inference.identifiers import new_id
from inference.limits import MAX_ANSWER
from persistence.types import JSON

SENT_BACK = ("extra_content", "provider_specific_fields")
"""Members of a call in which providers put what they want back in the next turn."""

CUT_SHORT = frozenset({"length", "content_filter"})
"""Finish reasons of an answer that is incomplete."""

MAX_ITEMS = 1000
"""Messages, reasonings and calls of one answer; what follows is cut off in the same way."""

PIECE = 16
"""Bytes that each piece of an answer counts besides its text, for its memory."""

SendRequest = Callable[[JSON], AsyncGenerator[list[JSON], None]]
"""Sends a chat request and yields its chunks, those together that arrive together.

Raises a ProviderError. Closing it ends the request.
"""

BuildRequest = Callable[[], Awaitable[JSON]]
"""Builds the next request from the run's state."""

Compact = Callable[[], AsyncGenerator[Event, None]]
"""Yields the events of a turn that compacts the conversation, if that is due."""

Opening = Callable[[], AsyncGenerator[Event, None]]
"""Yields the events of what is done before the model is asked."""


async def run_turns(
    send: SendRequest,
    build_request: BuildRequest,
    tools: Toolbox,
    state: RunState,
    max_answer: int,
    compact: Compact,
    opening: Opening,
    most_calls: int | None = None,
) -> AsyncGenerator[Event, None]:
    """Take turns with the model until it has answered, or a call waits for the caller.

    At most `most_calls` calls of the server's tools are made. The caller applies each event to `state` before
    it takes the next one.
    """
    async with aclosing(opening()) as opened:
        async for event in opened:
            yield event
    while True:
        async with aclosing(compact()) as compaction:
            async for event in compaction:
                yield event
        request = await build_request()
        yield TurnStarted(new_id("turn_"), _now())
        turn = state.turns[-1]
        used_ids = {call.call_id for each in state.turns for call in each.calls}
        reader = TurnReader(tools, used_ids, skip_text=bool(turn.finished_messages), max_answer=max_answer)
        async with aclosing(send(request)) as batches:
            async for chunks in batches:
                for event in reader.read(chunks):
                    yield event
                if reader.is_full:
                    break
        for event in reader.end():
            yield event
        whole = reader.finish not in CUT_SHORT
        if whole:
            async for event in run_calls(turn.calls, tools, calls_left(state, most_calls)):
                yield event
        else:
            for item in turn.open:
                usage = reader.tokens if isinstance(item, Message) else ()
                yield ItemFinished(item.id, "incomplete", _now(), tokens=usage, reason=reader.finish)
        yield TurnFinished(reader.finish, _now(), reader.tokens, reader.service_tier)
        if not whole or not turn.calls or turn.pending:
            return


class TurnReader:
    """Turns the chunks of one answer into events.

    Chunks are those of `Gateway.batches`: `content` is text, each call has an index of its own. With
    `skip_text` only calls are read: the turn was interrupted after its message, which is kept.
    """

    def __init__(
        self, tools: Toolbox, used_ids: set[str], *, skip_text: bool = False, max_answer: int = MAX_ANSWER
    ) -> None:
        self.finish = ""
        self.is_full = False
        """Whether the answer has reached the most that a run takes; it has ended there."""
        self.tokens: tuple[int, ...] = ()
        self.service_tier = ""
        self._tools = tools
        self._used_ids = used_ids
        self._room = max_answer
        self._items = 0
        self._open: Message | Reasoning | None = None
        self._skips_text = self._has_message = skip_text
        self._calls: dict[Any, Call] = {}
        self._citations = CitationReader(tools)
        self._takes_pieces = not tools and not skip_text

    def read(self, chunks: Sequence[JSON]) -> list[Event]:
        """Return the events of chunks that arrived together: one for consecutive pieces of a message."""
        events: list[Event] = []
        pieces: list[str] = []
        for chunk in chunks:
            piece = self._piece(chunk)
            if piece:
                pieces.append(piece)
                continue
            if pieces:
                events += self._pieces(pieces)
                pieces = []
            if not self.is_full:
                events += self._chunk(chunk)
            if self.is_full:
                return events
        return events + self._pieces(pieces) if pieces else events

    def _piece(self, chunk: JSON) -> str | None:
        """Return the text of a chunk that has nothing but more text of the open message."""
        choices = chunk["choices"]
        if not self._takes_pieces or type(self._open) is not Message or len(choices) != 1:
            return None
        choice = choices[0]
        delta = choice["delta"]
        if len(delta) != 1 or choice.get("finish_reason") or choice.get("logprobs") or chunk.get("usage"):
            return None
        if chunk.get("service_tier", self.service_tier) not in (self.service_tier, None):
            return None
        text: str | None = delta.get("content")
        return text

    def _pieces(self, texts: list[str]) -> list[Event]:
        """Return the event of pieces of the open message; of as many as the answer may have."""
        id, text = self._open_id(), "".join(texts)
        size = PIECE * len(texts) + json_size(text)
        if size > self._room:
            return self._fitting([ItemDelta(id, each) for each in texts])
        self._room -= size
        return [ItemDelta(id, text, pieces=[len(each) for each in texts] if len(texts) > 1 else [])]

    def _chunk(self, chunk: JSON) -> list[Event]:
        """Return the events of one chunk."""
        usage = chunk.get("usage")
        if usage:
            self.tokens = usage_tokens(usage)
        if isinstance(tier := chunk.get("service_tier"), str):
            self.service_tier = tier
        events: list[Event] = []
        for choice in (chunk.get("choices") or [])[:1]:
            events += self._delta(choice.get("delta") or {})
            logprobs = (choice.get("logprobs") or {}).get("content")
            if logprobs and isinstance(self._open, Message):
                events = self._with_logprobs(events, logprobs)
            self.finish = choice.get("finish_reason") or self.finish
        return self._fitting(events)

    def _fitting(self, events: list[Event]) -> list[Event]:
        """Return the events up to where the answer is full."""
        for index, event in enumerate(events):
            if not self._fits(event):
                self.is_full, self.finish = True, "length"
                return [*events[:index], *self._beginning(event)]
        return events

    def _with_logprobs(self, events: list[Event], logprobs: list[JSON]) -> list[Event]:
        """Return the events with the logprobs at their last piece of text."""
        for at, event in reversed(list(enumerate(events))):
            if isinstance(event, ItemDelta) and event.part == "text":
                return [*events[:at], replace(event, logprobs=logprobs), *events[at + 1 :]]
        return [*events, ItemDelta(self._open_id(), "", logprobs=logprobs)]

    def _fits(self, event: Event) -> bool:
        """Count an event, and return whether the answer may have it."""
        if isinstance(event, ItemDelta):
            more = [each for each in (event.annotations, event.logprobs) if each]
            size = PIECE + json_size(event.text) + sum(len(orjson.dumps(each)) for each in more)
            if size > self._room:
                return False
            self._room -= size
        elif isinstance(event, ItemStarted):
            self._items += 1
        return self._items <= MAX_ITEMS

    def _beginning(self, event: Event) -> list[Event]:
        """Return what there is room for of the event that does not fit: the beginning of a text."""
        if not isinstance(event, ItemDelta) or event.part not in GROWING_PARTS:
            return []
        text = beginning(event.text, self._room - PIECE)
        return [replace(event, text=text, annotations=[])] if text else []

    def end(self) -> list[Event]:
        """Return the events of the answer's end; ProviderBroken if the answer was cut off."""
        if not self.finish:
            raise ProviderBroken("The model's answer broke off.")
        if self.is_full:
            return []
        events = self._text(self._citations.end())
        if not self._has_message and not self._calls:
            events += self._message()
        if self.finish in CUT_SHORT:
            return events
        events += self._finish_open(() if self._calls else self.tokens)
        events += [
            ItemFinished(call.id, "completed", _now()) for call in self._calls.values() if call.is_pending
        ]
        return events

    def _delta(self, delta: JSON) -> list[Event]:
        events: list[Event] = []
        if self._skips_text:
            delta = {"tool_calls": delta.get("tool_calls")}
        if thought := delta.get("reasoning_content") or delta.get("reasoning"):
            events += self._reasoning(thought)
        if blocks := delta.get("thinking_blocks"):
            events += [*self._ensure(Reasoning, "rs_"), ItemDelta(self._open_id(), "", "blocks", blocks)]
        if phase := delta.get(PHASE):
            events += self._phase(phase)
        if content := delta.get("content"):
            events += self._text(self._citations.read(content))
        if refusal := delta.get("refusal"):
            events += [*self._message(), ItemDelta(self._open_id(), refusal, "refusal")]
        audio = delta.get("audio") or {}
        if data := audio.get("data"):
            events += self._media(data, "audio")
        for image in delta.get("images") or ():
            events += self._media(image["image_url"]["url"], "image")
        for part in delta.get("tool_calls") or ():
            events += self._call(part)
        return events

    # --- messages and reasoning ---

    def _text(self, pieces: list[tuple[str, list[JSON]]]) -> list[Event]:
        events: list[Event] = []
        for text, annotations in pieces:
            events += self._message()
            events.append(ItemDelta(self._open_id(), text, annotations=annotations))
        return events

    def _media(self, data: str, part: str) -> list[Event]:
        return [*self._message(), ItemDelta(self._open_id(), data, part)]

    def _reasoning(self, text: str) -> list[Event]:
        return [*self._ensure(Reasoning, "rs_"), ItemDelta(self._open_id(), text)]

    def _phase(self, phase: str) -> list[Event]:
        """Open a message of a phase."""
        self._has_message = True
        events = self._text(self._citations.end()) + self._finish_open()
        self._open = Message(new_id("msg_"), phase=phase)
        return [*events, started(self._open, _now())]

    def _message(self) -> list[Event]:
        self._has_message = True
        return self._ensure(Message, "msg_")

    def _ensure(self, kind: type[Message] | type[Reasoning], prefix: str) -> list[Event]:
        """Open an item of that kind, unless it is open."""
        if isinstance(self._open, kind):
            return []
        events = self._finish_open()
        self._open = kind(new_id(prefix))
        return [*events, started(self._open, _now())]

    def _finish_open(self, usage: tuple[int, ...] = ()) -> list[Event]:
        item, self._open = self._open, None
        return [] if item is None else [ItemFinished(item.id, "completed", _now(), tokens=usage)]

    def _open_id(self) -> str:
        item: Item | None = self._open
        if item is None:
            raise RuntimeError("no item is open")
        return item.id

    # --- calls ---

    def _call(self, part: JSON) -> list[Event]:
        """Return the events of a part of a call; the first call closes the message before it."""
        function = part.get("function") or {}
        index = part.get("index", part.get("id"))
        events: list[Event] = []
        if index not in self._calls:
            events += self._text(self._citations.end())
            events += self._finish_open()
            self._calls[index] = call = self._new_call(part)
            events.append(started(call, _now()))
        arguments = function.get("arguments")
        if arguments:
            events.append(ItemDelta(self._calls[index].id, arguments, "arguments"))
        return events

    def _new_call(self, part: JSON) -> Call:
        """Return a call with the provider's id, or a new id if that is missing or used in the run."""
        id, name = part.get("id"), (part.get("function") or {}).get("name") or ""
        if not id or id in self._used_ids:
            id = new_id("call_")
        self._used_ids.add(id)
        tool = self._tools.find(name)
        extra = {member: part[member] for member in SENT_BACK if part.get(member)}
        if tool is None:
            return Call(new_id("fc_"), FUNCTION_CALL, id, name, extra=extra)
        type = APPROVAL_REQUEST if tool.needs_approval(name) else tool.item_type
        return Call(new_id("fc_"), type, id, name, details=tool.details(name), extra=extra)


def usage_tokens(usage: JSON) -> tuple[int, ...]:
    """Return a provider's usage as the numbers of `Usage`."""
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    details = (prompt.get("cached_tokens"), completion.get("reasoning_tokens"))
    return tuple(count or 0 for count in (*counts, *details))


def json_size(text: str) -> int:
    """Return the bytes of a text as JSON, without its quotes."""
    return len(orjson.dumps(text)) - 2


def beginning(text: str, most: int) -> str:
    """Return the beginning of a text that has at most so many bytes as JSON."""
    text = text[: max(0, most)]
    while (excess := json_size(text) - most) > 0 and text:
        text = text[: -max(1, excess // 6)]  # no character has more than six bytes
    return text


def _now() -> int:
    return int(time.time())
