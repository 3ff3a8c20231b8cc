"""A provider's objects brought to OpenAI's spec, and chunks folded into a completion."""

import base64
import secrets
import time
from array import array
from collections.abc import Iterable
from typing import Any

from inference.gateway import failures

JSON = dict[str, Any]


def completion(answer: JSON, model: str) -> JSON:
    """`answer` with what OpenAI always sends filled in; unknown fields stay.

    ProviderBroken if it is no chat completion.
    """
    choices = answer.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise failures.garbage("it is no chat completion")
    _head(answer, model, "chat.completion")
    for place, choice in enumerate(choices):
        message = choice.get("message")
        if not isinstance(message, dict):
            raise failures.garbage("a choice has no message")
        choice.setdefault("index", place)
        choice.setdefault("logprobs", None)
        message.setdefault("role", "assistant")
        message.setdefault("content", None)
        message.setdefault("refusal", None)
        if message.get("tool_calls", ...) in (None, []):
            del message["tool_calls"]
        if choice.get("finish_reason") is None:
            choice["finish_reason"] = "tool_calls" if message.get("tool_calls") else "stop"
    return answer


def _head(answer: JSON, model: str, object_: str) -> None:
    if not isinstance(answer.get("id"), str) or not answer["id"]:
        answer["id"] = f"chatcmpl-{secrets.token_hex(12)}"
    answer["object"] = object_
    if not isinstance(answer.get("created"), int):
        answer["created"] = int(answer.get("created") or time.time())
    if not isinstance(answer.get("model"), str) or not answer["model"]:
        answer["model"] = model
    for name in ("service_tier", "system_fingerprint"):
        if answer.get(name, ...) is None:
            del answer[name]


def embeddings(answer: JSON, model: str, encoding: str, count: int) -> JSON:
    """`answer` in the encoding that was asked for ("float" or "base64"), in the order of the input.

    Providers that know one encoding only are brought to the other. ProviderBroken if it is no list
    of `count` embeddings.
    """
    data = answer.get("data")
    if not isinstance(data, list) or len(data) != count:
        raise failures.garbage(f"it does not hold {count} embeddings")
    try:
        for place, item in enumerate(data):
            item["object"] = "embedding"
            item.setdefault("index", place)
            item["embedding"] = _encoded(item["embedding"], encoding)
        data.sort(key=lambda item: item["index"])
    except (TypeError, KeyError, ValueError, AttributeError) as exc:
        raise failures.garbage("an embedding is no list of numbers") from exc
    usage = answer.get("usage") or {}
    prompt_tokens = usage.get("prompt_tokens") or 0
    answer["usage"] = {**usage, "prompt_tokens": prompt_tokens}
    answer["usage"]["total_tokens"] = usage.get("total_tokens") or prompt_tokens
    answer["object"] = "list"
    answer.setdefault("model", model)
    return answer


def _encoded(vector: Any, encoding: str) -> Any:
    if encoding == "base64" and isinstance(vector, list):
        return base64.b64encode(array("f", vector).tobytes()).decode()
    if encoding == "float" and isinstance(vector, str):
        return array("f", base64.b64decode(vector, validate=True)).tolist()
    if not isinstance(vector, (list, str)):
        raise TypeError(type(vector).__name__)
    return vector


class ChunkAccumulator:
    """Folds the chunks of one streamed completion into the completion they tell."""

    def __init__(self) -> None:
        self._head: JSON = {}
        self._choices: dict[int, JSON] = {}

    def add(self, chunk: JSON) -> None:
        """Take in one chunk object."""
        for name in ("id", "created", "model", "service_tier", "system_fingerprint", "usage"):
            if chunk.get(name) is not None:
                self._head[name] = chunk[name]
        for choice in chunk.get("choices") or ():
            self._add_choice(choice)

    def _add_choice(self, choice: JSON) -> None:
        index = choice.get("index", 0)
        empty = {"index": index, "message": {"role": "assistant", "content": None, "refusal": None}}
        folded = self._choices.setdefault(index, {**empty, "logprobs": None, "finish_reason": None})
        if choice.get("finish_reason") is not None:
            folded["finish_reason"] = choice["finish_reason"]
        if choice.get("logprobs"):
            _merge_lists(folded, "logprobs", choice["logprobs"])
        message, delta = folded["message"], choice.get("delta") or {}
        for name, value in delta.items():
            if value is None or name == "role":
                continue
            if name == "tool_calls":
                _add_calls(message.setdefault("tool_calls", []), value)
            elif name in ("function_call", "audio") and isinstance(value, dict):
                _merge_texts(message.setdefault(name, {}), value)
            elif isinstance(value, str):
                message[name] = (message.get(name) or "") + value
            elif isinstance(value, list):
                message.setdefault(name, []).extend(value)

    def completion(self) -> JSON:
        """What the chunks so far tell, as a chat completion."""
        choices = [self._choices[index] for index in sorted(self._choices)]
        for choice in choices:
            for call in choice["message"].get("tool_calls", ()):
                call.pop("index", None)
        return completion({**self._head, "choices": choices}, self._head.get("model", ""))


def _add_calls(calls: list[JSON], deltas: Iterable[JSON]) -> None:
    for delta in deltas:
        index = delta.get("index", len(calls))
        call = next((call for call in calls if call.get("index") == index), None)
        if call is None:
            call = {"index": index, "id": delta.get("id", ""), "type": delta.get("type") or "function"}
            calls.append(call)
        for part in ("function", "custom"):
            if isinstance(delta.get(part), dict):
                _merge_texts(call.setdefault(part, {}), delta[part])


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
