"""Thinking blocks: what a model thought, signed by its provider, which wants it back in the next turn."""

from typing import Any, TypeGuard

from persistence.types import JSON

PLAIN = "thinking"
"""The type of a block of text; others, such as `redacted_thinking`, are sent whole."""


RESPONSES_ITEM = "reasoning_item"
"""The type of a block that holds a reasoning item of the Responses API; only providers of that take it."""


def are_blocks(value: Any) -> TypeGuard[list[JSON]]:
    """Return whether a member `thinking_blocks` is a list of objects, and not empty."""
    return isinstance(value, list) and bool(value) and all(isinstance(block, dict) for block in value)


class ThinkingDeltas:
    """Numbers the thinking blocks of one choice of a stream.

    A provider streams a block in pieces, and the last one has the signature. Clients join pieces of the
    same `index`; OpenAI's Python SDK fails on pieces without one.
    """

    def __init__(self) -> None:
        self._index = -1
        self._is_open = False

    def take(self, blocks: list[JSON]) -> list[JSON]:
        """Return the deltas of one chunk with their indexes."""
        return [{**block, "index": self._next(block)} for block in blocks]

    def _next(self, block: JSON) -> int:
        is_plain = block.get("type") == PLAIN
        if not (self._is_open and is_plain):
            self._index += 1
        self._is_open = is_plain and not block.get("signature")
        return self._index


def joined(blocks: list[JSON]) -> list[JSON]:
    """Return whole blocks for those of a stream: pieces up to a signature are joined, indexes removed."""
    whole: dict[int, JSON] = {}
    for delta in ThinkingDeltas().take(blocks):
        block = {name: value for name, value in delta.items() if name != "index" and value is not None}
        started = whole.get(delta["index"], {})
        if started:
            block["thinking"] = f"{started.get('thinking', '')}{block.get('thinking', '')}"
        whole[delta["index"]] = {**started, **block}
    return list(whole.values())


SETTINGS = frozenset({"reasoning_effort", "thinking"})
"""Fields that have a model think."""


def can_continue(messages: list[JSON]) -> bool:
    """Return whether Claude can think in this turn.

    It refuses to where calls since the last question come without the thinking that it signed: those of
    another model, or of a client that does not keep it.
    """
    for message in reversed(messages):
        if message.get("role") == "user":
            return True
        blocks = message.get("thinking_blocks")
        is_signed = are_blocks(blocks) and (blocks[0].get("signature") or blocks[0].get("type") != PLAIN)
        if message.get("tool_calls") and not is_signed:
            return False
    return True
