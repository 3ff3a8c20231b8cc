"""The loop that talks to a model: turn after turn, until the model has no more to ask for.

It knows chat completions and tools, and nothing of the API that shows them. What happens is told
in a small vocabulary of its own:

    TurnBegan · TextArrived … · CallBegan · ArgumentsArrived … · ResultArrived … · TurnEnded

A turn is one answer of the model: text, calls of tools, or both. Calls of the server's own tools
are answered in the turn, and the next turn follows; at a call that only the caller can answer the
generator ends, and is made again with the answers in its turns.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any

from inference.errors import ProviderBroken
from inference.identifiers import new_id
from inference.runs.tools import ServerTool, ToolResult

JSON = dict[str, Any]

FUNCTION = "function"

CUT_SHORT = frozenset({"length", "content_filter"})
"""Ends of an answer that is not whole."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the provider counted them."""

    prompt: int = 0
    completion: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.prompt + other.prompt, self.completion + other.completion)


@dataclass(slots=True)
class Call:
    """A call of a tool: `tool` is "function" for the caller's own, else the server tool's type."""

    id: str
    name: str
    arguments: str = ""
    tool: str = FUNCTION
    output: str | None = None
    details: JSON = field(default_factory=dict)


@dataclass(slots=True)
class Turn:
    """One answer of the model, as the next request shows it again."""

    text: str = ""
    refusal: str = ""
    calls: list[Call] = field(default_factory=list)
    finish: str = ""
    usage: Usage = field(default_factory=Usage)

    @property
    def awaits_outputs(self) -> bool:
        """Whether a call is still to be answered by the caller."""
        return any(call.output is None for call in self.calls)

    def to_json(self) -> JSON:
        """The turn as it is stored."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: JSON) -> "Turn":
        """The turn that was stored."""
        calls = [Call(**call) for call in value["calls"]]
        return cls(**{**value, "calls": calls, "usage": Usage(**value["usage"])})

    def to_messages(self) -> list[JSON]:
        """The turn as chat messages: the assistant's, then one of role `tool` for each call."""
        message: JSON = {"role": "assistant", "content": self.text or self.refusal or None}
        if self.calls:
            message["tool_calls"] = [
                {"id": c.id, "type": FUNCTION, "function": {"name": c.name, "arguments": c.arguments}}
                for c in self.calls
            ]
        answers = [
            {"role": "tool", "tool_call_id": call.id, "content": call.output or ""} for call in self.calls
        ]
        return [message, *answers]


# --- vocabulary ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TurnBegan:
    """The provider is asked."""


@dataclass(frozen=True, slots=True)
class TextArrived:
    """A piece of the answer, with the annotations that end in it."""

    text: str
    annotations: tuple[JSON, ...] = ()


@dataclass(frozen=True, slots=True)
class RefusalArrived:
    """A piece of the model's refusal to answer."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegan:
    """The model calls a tool; `index` counts the calls of the turn."""

    index: int
    call: Call


@dataclass(frozen=True, slots=True)
class ArgumentsArrived:
    """A piece of the arguments of a call."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class ResultArrived:
    """A tool of the server has answered."""

    index: int
    call: Call


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The model's answer is whole, and the server's tools have answered theirs."""

    turn: Turn


Event = TurnBegan | TextArrived | RefusalArrived | CallBegan | ArgumentsArrived | ResultArrived | TurnEnded

Ask = Callable[[JSON], AsyncGenerator[JSON, None]]
"""Sends a chat request and gives its chunks; raises a ProviderError. Closing it ends the request."""

Compose = Callable[[list[Turn]], Awaitable[JSON]]
"""The next request, given the turns so far."""


async def converse(
    ask: Ask, compose: Compose, tools: Mapping[str, tuple[str, ServerTool]], turns: list[Turn]
) -> AsyncGenerator[Event, None]:
    """Take turns with the model until it has answered, or a call of it waits for the caller.

    `tools` maps the name of a function to its type and the server's tool. Turns are added to
    `turns` as they end.
    """
    while True:
        request = await compose(turns)
        yield TurnBegan()
        reading = _Reading(tools, {call.id for turn in turns for call in turn.calls})
        async with aclosing(ask(request)) as chunks:
            async for chunk in chunks:
                for event in reading.take(chunk):
                    yield event
        for event in reading.end():
            yield event
        turn = reading.turn
        if turn.finish not in CUT_SHORT:
            async for index, call in _answers(turn, tools):
                yield ResultArrived(index, call)
        turns.append(turn)
        yield TurnEnded(turn)
        if turn.finish in CUT_SHORT or not turn.calls or turn.awaits_outputs:
            return


async def _answers(
    turn: Turn, tools: Mapping[str, tuple[str, ServerTool]]
) -> AsyncIterator[tuple[int, Call]]:
    """Answer the calls of the server's tools, side by side, in their order."""
    own = [(index, call) for index, call in enumerate(turn.calls) if call.tool != FUNCTION]
    results: list[ToolResult] = await asyncio.gather(
        *(tools[call.name][1].call(call.arguments) for _, call in own)
    )
    for (index, call), result in zip(own, results, strict=True):
        call.output, call.details = result.output_for_model, result.details
        yield index, call


class _Reading:
    """Reads the chunks of one answer into a turn, and tells what they bring."""

    def __init__(self, tools: Mapping[str, tuple[str, ServerTool]], taken: set[str]) -> None:
        self.turn = Turn()
        self._tools = tools
        self._taken = taken
        self._places: dict[Any, int] = {}
        self._citing = _Citing([tool for _, tool in tools.values()])

    def take(self, chunk: JSON) -> list[Event]:
        """The events of one chunk."""
        usage = chunk.get("usage")
        if usage:
            self.turn.usage = Usage(usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)
        events: list[Event] = []
        for choice in (chunk.get("choices") or [])[:1]:
            events += self._delta(choice.get("delta") or {})
            self.turn.finish = choice.get("finish_reason") or self.turn.finish
        return events

    def end(self) -> list[Event]:
        """What was held back; ProviderBroken if the answer has no end."""
        if not self.turn.finish:
            raise ProviderBroken("The model's answer broke off.")
        return self._text(self._citing.end())

    def _delta(self, delta: JSON) -> list[Event]:
        events: list[Event] = []
        if delta.get("content"):
            events += self._text(self._citing.take(delta["content"]))
        if delta.get("refusal"):
            self.turn.refusal += delta["refusal"]
            events.append(RefusalArrived(delta["refusal"]))
        for part in delta.get("tool_calls") or []:
            events += self._call(part)
        return events

    def _text(self, pieces: list[TextArrived]) -> list[Event]:
        self.turn.text += "".join(piece.text for piece in pieces)
        return list(pieces)

    def _call(self, part: JSON) -> list[Event]:
        """A part of a call; one without an index is told from the others by its id."""
        function = part.get("function") or {}
        place = part.get("index", part.get("id"))
        events: list[Event] = []
        if place not in self._places:
            self._places[place] = len(self.turn.calls)
            self.turn.calls.append(self._begun(part.get("id"), function.get("name") or ""))
            events.append(CallBegan(self._places[place], self.turn.calls[-1]))
        index = self._places[place]
        if function.get("arguments"):
            self.turn.calls[index].arguments += function["arguments"]
            events.append(ArgumentsArrived(index, function["arguments"]))
        return events

    def _begun(self, id: str | None, name: str) -> Call:
        """The provider's own id, unless it is missing or was used in the run before."""
        if not id or id in self._taken:
            id = new_id("call_")
        self._taken.add(id)
        return Call(id, name, tool=self._tools[name][0] if name in self._tools else FUNCTION)


class _Citing:
    """Holds back what may become a citation mark, so that mark and annotation come together."""

    LONGEST = 64

    def __init__(self, tools: list[ServerTool]) -> None:
        self._tools = tools
        self._text = ""
        self._held = ""
        self._told = 0

    def take(self, text: str) -> list[TextArrived]:
        """The pieces that are ready once `text` has come."""
        if not self._tools:
            return [TextArrived(text)]
        text = self._held + text
        start = text.rfind("【")
        whole = start < 0 or "】" in text[start:] or len(text) - start > self.LONGEST
        ready, self._held = (text, "") if whole else (text[:start], text[start:])
        return [self._piece(ready)] if ready else []

    def end(self) -> list[TextArrived]:
        """The piece that was held back, if any."""
        held, self._held = self._held, ""
        return [self._piece(held)] if held else []

    def _piece(self, text: str) -> TextArrived:
        self._text += text
        if "】" not in text:
            return TextArrived(text)
        found = [annotation for tool in self._tools for annotation in tool.annotate(self._text)]
        new, self._told = found[self._told :], len(found)
        return TextArrived(text, tuple(new))
