"""What a run sends to a model: the thread's messages as chat messages, cut to what fits."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from inference.runs.state import CUT_OFF
from inference.runs.tools import ServerTool
from inference.runs.turns import FUNCTION, Turn
from persistence.errors import ContentNotFound
from persistence.store import Document, Key, Store

JSON = dict[str, Any]
CountTokens = Callable[[str], int]

PAGE = 100
RESERVED_FOR_ANSWER = 1024
"""Tokens of the context kept free for the answer, where the run sets no limit of its own."""

MESSAGE_TOKENS = 4
"""What the wire adds to each message."""

IMAGE_TOKENS = 1105
"""What OpenAI counts for an image of high detail of 1024 by 1024."""


class LimitReached(Exception):
    """A limit of the run leaves no room for another turn; `reason` is the limit's name."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Conversation:
    """A run's side of the talk: makes the next request from the turns so far."""

    run: JSON
    options: JSON
    history: list[JSON]
    tools: Mapping[str, tuple[str, ServerTool]]
    context_window: int
    count: CountTokens

    async def compose(self, turns: list[Turn]) -> JSON:
        """The next request, or LimitReached."""
        request: JSON = {
            "model": self.run["model"],
            "messages": await self._messages(turns),
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.options,
            **self._tools(first=not turns),
        }
        if self.run["max_completion_tokens"] is not None:
            left = self.run["max_completion_tokens"] - sum(turn.usage.completion for turn in turns)
            if left <= 0:
                raise LimitReached("max_completion_tokens")
            request["max_completion_tokens"] = left
        if self.run["response_format"] != "auto":
            request["response_format"] = self.run["response_format"]
        if self.run["reasoning_effort"] is not None:
            request["reasoning_effort"] = self.run["reasoning_effort"]
        return request

    def _tools(self, *, first: bool) -> JSON:
        """A choice that forces a call holds for the first turn only, or the run would never end."""
        tools = [tool for tool in self.run["tools"] if tool["type"] == FUNCTION]
        tools += [tool.definition() for _, tool in self.tools.values()]
        if not tools:
            return {}
        fields: JSON = {"tools": tools}
        choice = self._choice()
        if choice != "auto" and (first or choice == "none"):
            fields["tool_choice"] = choice
        if not self.run["parallel_tool_calls"]:
            fields["parallel_tool_calls"] = False
        return fields

    def _choice(self) -> Any:
        choice = self.run["tool_choice"]
        if isinstance(choice, str) or choice["type"] == FUNCTION:
            return choice
        named = [name for name, (type, _) in self.tools.items() if type == choice["type"]]
        return {"type": FUNCTION, "function": {"name": named[0]}} if named else "auto"

    async def _messages(self, turns: list[Turn]) -> list[JSON]:
        instructions = self.run["instructions"]
        system = [{"role": "system", "content": instructions}] if instructions else []
        tail = [message for turn in turns for message in turn.to_messages()]
        fixed = [*system, *tail]
        budget = self._budget(turns)
        if sum(map(_most_tokens, [*fixed, *self.history])) <= budget:
            return [*system, *self.history, *tail]
        # Counting takes milliseconds for a long thread, so it is done off the event loop.
        kept = await asyncio.to_thread(fitting, self.history, fixed, budget, self.count)
        if not kept and self.run["max_prompt_tokens"] is not None:
            raise LimitReached("max_prompt_tokens")
        # What does not fit the model is left to the provider to refuse, in its own words.
        return [*system, *(kept or self.history[-1:]), *tail]

    def _budget(self, turns: list[Turn]) -> int:
        reserved = self.run["max_completion_tokens"] or RESERVED_FOR_ANSWER
        budget = max(self.context_window - reserved, self.context_window // 2)
        limit = self.run["max_prompt_tokens"]
        return budget if limit is None else min(budget, limit - sum(turn.usage.prompt for turn in turns))


def fitting(history: list[JSON], fixed: list[JSON], budget: int, count: CountTokens) -> list[JSON]:
    """The newest messages that fit into `budget` tokens beside the fixed ones, each whole."""
    left = budget - sum(_tokens(message, count) for message in fixed)
    kept = 0
    for message in reversed(history):
        left -= _tokens(message, count)
        if left < 0:
            break
        kept += 1
    return history[len(history) - kept :]


def _most_tokens(message: JSON) -> int:
    """A bound without counting: a byte-pair encoding has no more tokens than bytes."""
    return _tokens(message, lambda text: len(text.encode()))


def _tokens(message: JSON, count: CountTokens) -> int:
    tokens = MESSAGE_TOKENS
    content = message.get("content") or ""
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        tokens += count(part["text"]) if part["type"] == "text" else IMAGE_TOKENS
    for call in message.get("tool_calls", ()):
        tokens += MESSAGE_TOKENS + count(call["function"]["name"]) + count(call["function"]["arguments"])
    return tokens


# --- the thread's messages -------------------------------------------------------------------------


async def read_history(store: Store, run: JSON, project: str, window: int) -> list[JSON]:
    """The thread's messages as chat messages, oldest first: those that the run's truncation keeps.

    Reads no more of a long thread than a context of `window` tokens can hold.
    """
    strategy = run["truncation_strategy"]
    most = strategy["last_messages"] if strategy["type"] == "last_messages" else None
    newest: list[JSON] = []
    room = window
    async for document in _newest_first(store, project, run["thread_id"], most):
        if not _is_told(document, run["id"]):
            continue
        message = await chat_message(store, project, document.value)
        newest.append(message)
        room -= max(1, _most_tokens(message) // 8)
        if len(newest) == most or room < 0:
            break
    return newest[::-1]


async def _newest_first(store: Store, project: str, thread: str, most: int | None) -> AsyncIterator[Document]:
    after: str | None = None
    limit = min(PAGE, most + 1) if most else PAGE
    while True:
        page = await store.page(project, "messages", thread, after=after, limit=limit, order="desc")
        for document in page.documents:
            yield document
        if not page.has_more:
            return
        after, limit = page.documents[-1].id, PAGE


def _is_told(document: Document, run_id: str) -> bool:
    """The run's own messages are in its turns; one that is in progress or was cut off is in none."""
    message = document.value
    return (
        message["run_id"] != run_id
        and message["status"] != "in_progress"
        and not document.state.get(CUT_OFF)
        and bool(message["content"])
    )


async def chat_message(store: Store, project: str, message: JSON) -> JSON:
    """A stored message as a chat message."""
    parts = [await _chat_part(store, project, part) for part in message["content"]]
    text_only = all(part["type"] == "text" for part in parts)
    content = "\n".join(part["text"] for part in parts) if text_only else parts
    return {"role": message["role"], "content": content}


async def _chat_part(store: Store, project: str, part: JSON) -> JSON:
    match part["type"]:
        case "text":
            return {"type": "text", "text": part["text"]["value"]}
        case "refusal":
            return {"type": "text", "text": part["refusal"]}
        case "image_url":
            return {"type": "image_url", "image_url": part["image_url"]}
        case _:
            return await _image_file(store, project, part["image_file"])


async def _image_file(store: Store, project: str, image: JSON) -> JSON:
    """An uploaded image as a data URL; one that was deleted is told as such."""
    document = await store.get(Key(project, "files", image["file_id"]))
    gone = {"type": "text", "text": f"[The image {image['file_id']} was deleted.]"}
    if document is None:
        return gone
    try:
        data = b"".join([piece async for piece in store.read_content(project, document.state["content"])])
    except ContentNotFound:
        return gone
    url = f"data:{media_type(data)};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url, "detail": image.get("detail") or "auto"}}


def media_type(data: bytes) -> str:
    """The type of an image by its first bytes, of those that models take; png where none fits."""
    for start, type in ((b"\xff\xd8", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp")):
        if data.startswith(start):
            return f"image/{type}"
    return "image/png"
