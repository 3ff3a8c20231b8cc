"""Builds a run's requests: its conversation and turns, cut to what fits the model's context."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from inference.defaults import sent_function
from inference.engine.calls import calls_left
from inference.engine.events import OPENED
from inference.engine.items import Turn
from inference.engine.state import RunState, Settings
from inference.engine.summaries import compacted
from inference.engine.tools import Toolbox
from persistence.types import JSON

CountTokens = Callable[[str], int]

log = structlog.get_logger("astrolabe.requests")

RESERVED_FOR_ANSWER = 1024
"""Tokens of the context reserved for the answer, if the run sets no limit."""

MESSAGE_TOKENS = 4
"""Tokens that each message costs besides its text."""

IMAGE_TOKENS = 1105
"""Tokens that OpenAI counts for an image of 1024 by 1024 in high detail."""

SLICE = 50_000
"""Characters of a text whose tokens are counted at once."""

FUNCTION = "function"


class LimitReached(Exception):
    """No room for another turn; `reason` names the limit that was reached."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class RequestBuilder:
    """Builds a run's next request from its history and its turns."""

    settings: Settings
    state: RunState
    history: list[JSON]
    tools: Toolbox
    context_window: int
    count: CountTokens

    async def build(self) -> JSON:
        """Return the next request; LimitReached."""
        settings = self.settings
        request: JSON = {
            "model": settings.model,
            "stream": True,
            "stream_options": {"include_usage": True},
            **settings.options,
            **self._tool_fields(),
        }
        if settings.response_format != "auto":
            request["response_format"] = settings.response_format
        if settings.reasoning_effort is not None:
            request["reasoning_effort"] = settings.reasoning_effort
        await self._fit(request)
        return request

    # --- tools ---

    def _tool_fields(self) -> JSON:
        """Return tools and tool choice. Only the first turn is forced to call: the run would never end."""
        functions = [sent_function(tool) for tool in self.settings.tools if tool["type"] == FUNCTION]
        may_call = self._may_call_tools()
        if not may_call and not functions:  # providers want the tools of the calls that they read
            return {"tools": self.tools.definitions, "tool_choice": "none"} if self.tools.definitions else {}
        tools = [*functions, *(self.tools.definitions if may_call else ())]
        if not tools:
            return {}
        fields: JSON = {"tools": tools}
        choice = self._choice()
        if choice != "auto" and (choice == "none" or not any(_is_answer(turn) for turn in self.state.turns)):
            fields["tool_choice"] = choice
        if not self.settings.parallel_tool_calls:
            fields["parallel_tool_calls"] = False
        return fields

    def _may_call_tools(self) -> bool:
        """Return whether the server's tools may be called once more."""
        return calls_left(self.state, self.settings.max_tool_calls) != 0

    def _choice(self) -> Any:
        choice = self.settings.tool_choice
        if isinstance(choice, str) or choice["type"] == FUNCTION:
            return choice
        chosen = self.tools.chosen(choice)
        if len(chosen) == 1 or choice["type"] != "mcp":
            return {"type": FUNCTION, "function": {"name": chosen[0]}} if chosen else "auto"
        return "required" if chosen else "auto"  # any of a server's tools

    # --- what fits ---

    def conversation(self) -> tuple[list[JSON], list[JSON]]:
        """Return the messages before the run's turns, and those of the turns, since the last compaction."""
        history = self.history
        tail: list[JSON] = []
        for turn in self.state.turns:
            if turn.compaction is not None and turn.finish:
                history, tail = compacted([*history, *tail], turn.compaction), []
            elif turn.finish:
                tail += turn.to_messages()
        return history, tail

    async def _fit(self, request: JSON) -> None:
        """Add the messages and the answer's limit, so that both fit the context with tools and schema."""
        instructions = self.settings.instructions
        system = [{"role": "system", "content": instructions}] if instructions else []
        history, tail = self.conversation()
        left = self._completion_left()
        if not self.settings.drops_oldest:
            request["messages"] = [*system, *history, *tail]
            if left is not None:
                request["max_completion_tokens"] = left
            return
        reserved = left if left is not None else RESERVED_FOR_ANSWER
        extras = [
            orjson.dumps(request[name]).decode() for name in ("tools", "response_format") if name in request
        ]
        fixed = [*system, *tail]
        budget = self._prompt_budget(min(reserved, self.context_window // 2))
        room = min(budget, self.context_window - reserved)
        kept, used = history, most_tokens([*fixed, *history], room, extras)
        if used > room:
            # Counting takes milliseconds for a long conversation, so it is done off the event loop.
            kept, used = await asyncio.to_thread(fitting, history, fixed, extras, budget, self.count)
            if not kept:  # prefer a shorter answer to none
                budget = self._prompt_budget(min(reserved, RESERVED_FOR_ANSWER))
                newest = history[-1:]
                kept, used = await asyncio.to_thread(fitting, newest, fixed, extras, budget, self.count)
            if used > budget or (history and not kept):
                log.warning("prompt_too_long", tokens=used, **self._limits())
                raise LimitReached("max_prompt_tokens")
        while kept and kept[0]["role"] == "tool":  # its call was dropped
            kept = kept[1:]
        request["messages"] = [*system, *kept, *tail]
        if left is not None:
            request["max_completion_tokens"] = max(1, min(left, self.context_window - used))

    def _limits(self) -> JSON:
        settings = self.settings
        if settings.max_prompt_tokens is not None:
            return {"model": settings.model, "max_prompt_tokens": settings.max_prompt_tokens}
        hint = "models.yaml can set the model's context_window"
        return {"model": settings.model, "context_window": self.context_window, "hint": hint}

    def _completion_left(self) -> int | None:
        limit = self.settings.max_completion_tokens
        if limit is None:
            return None
        summaries = sum(turn.usage.completion for turn in self.state.turns if turn.compaction)
        left = limit - self.state.usage.completion + summaries
        if left <= 0:
            raise LimitReached("max_completion_tokens")
        return left

    def _prompt_budget(self, reserved: int) -> int:
        budget = self.context_window - reserved
        limit = self.settings.max_prompt_tokens
        return budget if limit is None else min(budget, limit - self.state.usage.prompt)


def _is_answer(turn: Turn) -> bool:
    """Return whether the model answered the conversation in a turn."""
    return turn.compaction is None and turn.finish != OPENED


def fitting(
    history: list[JSON], fixed: list[JSON], extras: list[str], budget: int, count: CountTokens
) -> tuple[list[JSON], int]:
    """Return the newest messages that fit into `budget` tokens beside the rest, and the tokens of all."""
    used = _sum(fixed, extras, count)
    kept = 0

    def count_to_budget(text: str) -> int:
        """Count the tokens of a long text only as far as they fit."""
        tokens = 0
        for start in range(0, len(text), SLICE):
            tokens += count(text[start : start + SLICE])
            if used + tokens > budget:
                break
        return tokens

    for message in reversed(history):
        tokens = _tokens(message, count_to_budget)
        if used + tokens > budget:
            break
        used += tokens
        kept += 1
    return history[len(history) - kept :], used


def most_tokens(messages: Iterable[JSON], limit: int, extras: Iterable[str] = ()) -> int:
    """Return an upper bound of the tokens, or something above `limit` if the bound is.

    No encoding has more tokens than bytes.
    """

    def count(text: str) -> int:
        return _byte_length(text, limit)

    used = sum(map(count, extras))
    for message in messages:
        if used > limit:
            break
        used += _tokens(message, count)
    return used


def _byte_length(text: str, limit: int) -> int:
    """Return the bytes of a text in UTF-8, or something above `limit`."""
    if text.isascii():
        return len(text)
    size = 0
    for start in range(0, len(text), SLICE):
        size += len(text[start : start + SLICE].encode())
        if size > limit:
            break
    return size


def _sum(messages: list[JSON], extras: list[str], count: CountTokens) -> int:
    return sum(_tokens(message, count) for message in messages) + sum(map(count, extras))


def _tokens(message: JSON, count: CountTokens) -> int:
    tokens = MESSAGE_TOKENS
    content = message.get("content") or ""
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        tokens += count(part["text"]) if part["type"] == "text" else IMAGE_TOKENS
    for call in message.get("tool_calls", ()):
        tokens += MESSAGE_TOKENS + count(call["function"]["name"]) + count(call["function"]["arguments"])
    return tokens
