"""Put a streamed completion together."""

from collections.abc import Iterable
from typing import Any

from inference.gateway.answers import normalize, thinking
from inference.gateway.paths import COMPLETIONS
from inference.gateway.routing.targets import Target
from persistence.types import JSON


class ChunkAccumulator:
    """Collects the chunks of `Gateway.chunks()` into the chat completion that they make."""

    def __init__(self) -> None:
        self._head: JSON = {}
        self._choices: dict[int, JSON] = {}

    def add(self, chunk: JSON) -> None:
        """Add one chunk."""
        for name in ("id", "created", "model", "service_tier", "system_fingerprint", "usage"):
            if chunk.get(name) is not None:
                self._head[name] = chunk[name]
        for choice in chunk.get("choices") or ():
            self._add_choice(choice)

    def _add_choice(self, choice: JSON) -> None:
        index = choice.get("index", 0)
        empty = {"index": index, "message": {"role": "assistant", "content": None, "refusal": None}}
        whole = self._choices.setdefault(index, {**empty, "logprobs": None, "finish_reason": None})
        if choice.get("finish_reason") is not None:
            whole["finish_reason"] = choice["finish_reason"]
        if choice.get("logprobs"):
            _merge_lists(whole, "logprobs", choice["logprobs"])
        message, delta = whole["message"], choice.get("delta") or {}
        for name, value in delta.items():
            if value is None or name == "role":
                continue
            if name == "tool_calls":
                _add_calls(message.setdefault("tool_calls", []), value)
            else:
                _merge(message, name, value)

    def completion(self) -> JSON:
        """Return the chat completion of the chunks so far."""
        choices = [self._choices[index] for index in sorted(self._choices)]
        for message in (choice["message"] for choice in choices):
            for call in message.get("tool_calls", ()):
                call.pop("index", None)
            if thinking.are_blocks(message.get("thinking_blocks")):
                message["thinking_blocks"] = thinking.joined(message["thinking_blocks"])
        target = Target("", "openai", self._head.get("model", ""))
        return normalize.completion({**self._head, "choices": choices}, target)


def text_completion(chunks: Iterable[JSON]) -> JSON:
    """Return the legacy text completion that chunks make."""
    whole: JSON = {}
    choices: dict[int, JSON] = {}
    for chunk in chunks:
        whole.update({name: value for name, value in chunk.items() if value is not None})
        for choice in chunk["choices"]:
            present = choices.setdefault(choice["index"], {**choice, "text": "", "logprobs": None})
            present["text"] += choice["text"]
            present["finish_reason"] = choice.get("finish_reason") or present.get("finish_reason")
            for name, values in (choice.get("logprobs") or {}).items():
                present["logprobs"] = present["logprobs"] or {}
                present["logprobs"][name] = [*(present["logprobs"].get(name) or ()), *(values or ())]
    return {**whole, "choices": [choices[index] for index in sorted(choices)]}


def _merge(message: JSON, name: str, value: Any) -> None:
    """Add a member of a delta: texts and lists grow, objects are merged."""
    present = message.get(name)
    if isinstance(value, dict):
        message[name] = present if isinstance(present, dict) else {}
        _merge_texts(message[name], value)
    elif isinstance(value, str):
        message[name] = f"{present or ''}{value}"
    elif isinstance(value, list):
        message[name] = [*(present or ()), *value]


def _add_calls(calls: list[JSON], deltas: Iterable[JSON]) -> None:
    for delta in deltas:
        index = delta["index"]
        call = next((call for call in calls if call["index"] == index), None)
        if call is None:
            calls.append({**delta, **{part: {**delta[part]} for part in _PARTS & delta.keys()}})
            continue
        for name, value in delta.items():
            if name in _PARTS:
                _merge_texts(call.setdefault(name, {}), value)
            elif value is not None:
                call[name] = value


_PARTS = frozenset({"function", "custom"})


def _merge_texts(into: JSON, delta: JSON) -> None:
    for name, value in delta.items():
        if value is None:
            continue
        grows = name in ("arguments", "input", "data", "transcript") and isinstance(value, str)
        into[name] = into.get(name, "") + value if grows else value


def _merge_lists(into: JSON, name: str, delta: JSON) -> None:
    merged = into[name] or {"content": None, "refusal": None}
    for part in ("content", "refusal"):
        if delta.get(part):
            merged[part] = (merged[part] or []) + delta[part]
    into[name] = merged


def joined(chunks: list[JSON], path: str) -> JSON:
    """Return the answer of a stream that came although none was asked for."""
    if path == COMPLETIONS:
        return text_completion(chunks)
    accumulator = ChunkAccumulator()
    for chunk in chunks:
        accumulator.add(chunk)
    return accumulator.completion()
