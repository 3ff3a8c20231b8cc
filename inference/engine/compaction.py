"""Compaction: the model summarizes a conversation, and reads the summary in its place from then on.

A compaction is a turn of its own, so that it is logged, streamed and taken over like every other one.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from inference.engine.events import (
    COMPACTED,
    Event,
    ItemDelta,
    ItemFinished,
    TurnFinished,
    TurnStarted,
    started,
)
from inference.engine.items import Compaction
from inference.engine.requests import CountTokens, RequestBuilder, fitting, most_tokens
from inference.engine.state import RunState
from inference.engine.summaries import content_text
from inference.engine.turns import SendRequest, usage_tokens
from inference.errors import ProviderBroken
from inference.identifiers import new_id
from persistence.types import JSON

WORTH = 4
"""What would be summarized must have at least this part of the threshold's tokens: a quarter."""

LONGEST_LATEST = 100_000
"""Characters of the user's latest message that are kept beside a summary."""

PROMPT = """\
Write a summary of the conversation so far. It will replace the conversation: whoever continues the work \
reads the summary and nothing else of it. Do not answer the user, do not continue the work, and call no \
tools. Write only the summary, under these headings, and leave out a heading that has nothing:

1. Requests: what the user asked for, in the user's own words where they matter, and what is still open.
2. Rules: constraints, preferences and decisions that hold from now on.
3. Done: what was done and found out, with the results of tool calls that later steps need. Keep names, \
paths, ids, numbers, code and error messages exactly as they are.
4. State: where the work stands now, and what went wrong.
5. Next: the next steps.

An earlier summary in the conversation is a part of it: keep what still matters of it."""

NOT_FOR_SUMMARIES = frozenset({"logprobs", "top_logprobs", "verbosity"})
"""Options of a run that are for its answers only."""


@dataclass(frozen=True, slots=True)
class Compactor:
    """Compacts a run's conversation if that is due before a turn."""

    send: SendRequest
    builder: RequestBuilder
    max_answer: int

    async def turn(self) -> AsyncGenerator[Event, None]:
        """Yield the events of a compaction, none if it is not due; ProviderBroken without a summary."""
        rule = self.builder.settings.compaction
        if rule is None:
            return
        history, tail = self.builder.conversation()
        system = [message for message in history if message["role"] == "system"]
        others = [message for message in (*history, *tail) if message["role"] != "system"]
        latest: JSON | None = None
        if not rule.ends_run:
            if others and others[-1]["role"] == "user":
                latest = others.pop()
            rest = [*system, *([latest] if latest else ())]
            if not await _is_due(others, rest, rule.threshold, self.builder.count):
                return
        details = {
            "system": [content_text(message) for message in system],
            "latest": content_text(latest)[:LONGEST_LATEST] if latest else None,
        }
        request = await _request(self.builder, [*system, *others])
        item = Compaction(new_id("cmp_"), details=details)
        async with aclosing(self._summarize(request, item)) as events:
            async for event in events:
                yield event

    async def _summarize(self, request: JSON, item: Compaction) -> AsyncGenerator[Event, None]:
        yield TurnStarted(new_id("turn_"), _now())
        yield started(item, _now())
        room, finish = self.max_answer, ""
        tokens: tuple[int, ...] = ()
        async with aclosing(self.send(request)) as batches:
            async for chunk in (chunk async for chunks in batches for chunk in chunks):
                tokens = usage_tokens(chunk["usage"]) if chunk.get("usage") else tokens
                for choice in (chunk.get("choices") or [])[:1]:
                    text = (choice.get("delta") or {}).get("content") or ""
                    finish = choice.get("finish_reason") or finish
                    room -= len(text.encode())
                    if text and room >= 0:
                        yield ItemDelta(item.id, text)
        if not finish or room == self.max_answer:
            raise ProviderBroken("The model gave no summary of the conversation.")
        yield ItemFinished(item.id, "completed", _now())
        yield TurnFinished(COMPACTED, _now(), tokens)


async def _is_due(others: list[JSON], rest: list[JSON], threshold: int, count: CountTokens) -> bool:
    """Return whether a conversation has more tokens than the threshold, and enough that can be summarized."""
    if most_tokens((*others, *rest), threshold) <= threshold:
        return False
    kept, used = await asyncio.to_thread(fitting, others, rest, [], threshold, count)
    if len(kept) == len(others) and used <= threshold:
        return False
    kept, _ = await asyncio.to_thread(fitting, others, [], [], threshold // WORTH, count)
    return len(kept) < len(others)


async def _request(builder: RequestBuilder, messages: list[JSON]) -> JSON:
    """Return the request for a summary, with what fits of the messages."""
    settings = builder.settings
    options = {name: value for name, value in settings.options.items() if name not in NOT_FOR_SUMMARIES}
    changed = replace(
        settings,
        options=options,
        tool_choice="none",
        response_format="auto",
        max_completion_tokens=None,
        max_prompt_tokens=None,
        drops_oldest=True,
    )
    history = [*messages, {"role": "user", "content": PROMPT}]
    request = await replace(builder, settings=changed, state=RunState(), history=history).build()
    called = {call["function"]["name"]: 0 for each in messages for call in each.get("tool_calls") or ()}
    if called and "tools" not in request:  # some providers want the tools of each call that they read
        request["tools"] = [{"type": "function", "function": {"name": name}} for name in called]
        request["tool_choice"] = "none"
    return request


def _now() -> int:
    return int(time.time())
