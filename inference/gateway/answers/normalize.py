"""Convert a provider's whole answers to OpenAI's form."""

import base64
import math
import re
import time
from array import array
from typing import Any

from inference.gateway import failures
from inference.gateway.answers import fields, tolerant_json
from inference.gateway.answers.calls import arguments_text
from inference.gateway.routing.targets import Target
from inference.identifiers import new_id
from persistence.large_json import LARGE_BYTES, Pauses
from persistence.types import JSON

_NAME = b'"embedding"'
_VECTOR = re.compile(_NAME + rb'\s*:\s*(\[[^\[\]{}"]*\])')


def parsed(target: Target, body: bytes) -> JSON:
    """Return the JSON object of a response; raise the error that it reports, or ProviderBroken."""
    try:
        value = tolerant_json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise failures.unreadable(_no_json(body)) from exc
    return _object(target, body, value, may_have_secrets=target.filter.may_be_in(body))


async def parsed_large(target: Target, body: bytes) -> JSON:
    """Return what `parsed` returns; other requests have their turn while a large body is decoded."""
    try:
        value = await tolerant_json.loads_large(body)
    except (ValueError, RecursionError) as exc:
        raise failures.unreadable(_no_json(body)) from exc
    may_have_secrets = await target.filter.may_be_in_large(body)
    return _object(target, body, value, may_have_secrets=may_have_secrets)


def _object(target: Target, body: bytes, value: Any, *, may_have_secrets: bool) -> JSON:
    if failures.is_error(value):
        raise failures.from_value(target, value)
    if isinstance(value, list):
        value = {"object": "list", "data": value}
    if not isinstance(value, dict):
        raise failures.unreadable("it is not a JSON object")
    if b"\\" in body and (b"\\ud" in body or b"\\uD" in body):  # one character is found ten times as fast
        value = tolerant_json.without_surrogates(value)
    if may_have_secrets:
        value = target.filter.value(value)
    result: JSON = value
    return result


def _no_json(body: bytes) -> str:
    start = body.lstrip()[:1]
    return "it is empty" if not start else "it is a page of HTML" if start == b"<" else "it is not JSON"


def completion(answer: JSON, target: Target) -> JSON:
    """Return a chat completion with every field that OpenAI always sends; unknown fields stay.

    Raises ProviderBroken if it is not a chat completion, or a failed one.
    """
    choices = _choices(answer)
    _head(answer, target, "chat.completion", "chatcmpl-")
    for position, choice in enumerate(choices):
        message = choice.get("message")
        if not isinstance(message, dict):
            raise failures.unreadable("a choice has no message")
        if type(choice.get("index")) is not int:
            choice["index"] = position
        choice.setdefault("logprobs", None)
        message.setdefault("role", "assistant")
        message["content"] = fields.text(message.get("content"))
        message.setdefault("refusal", None)
        for name in fields.TEXTS & message.keys():
            message[name] = fields.text(message[name])
        fields.check_message(message)
        fields.check_logprobs(choice)
        _calls(message)
        _finish(choice, target, "tool_calls" if message.get("tool_calls") else "stop")
    return answer


def text_completion(answer: JSON, target: Target) -> JSON:
    """Return a legacy text completion in the same way."""
    choices = _choices(answer)
    _head(answer, target, "text_completion", "cmpl-")
    for position, choice in enumerate(choices):
        if type(choice.get("index")) is not int:
            choice["index"] = position
        choice.setdefault("logprobs", None)
        choice["text"] = fields.text(choice.get("text")) or ""
        _finish(choice, target, "stop")
    return answer


def as_chunks(answer: JSON, target: Target, request: JSON) -> list[JSON]:
    """Return the chunks of a whole answer, with its usage if the request asks for it."""
    whole = completion(answer, target)
    usage = whole.pop("usage", None)
    choices = []
    for choice in whole["choices"]:
        message = choice.pop("message")
        for index, call in enumerate(message.get("tool_calls", ())):
            call["index"] = index
        choices.append({**choice, "delta": message})
    chunks = [{**whole, "object": "chat.completion.chunk", "choices": choices}]
    if usage and (request.get("stream_options") or {}).get("include_usage"):
        chunks.append({**chunks[0], "choices": [], "usage": usage})
    return chunks


def _choices(answer: JSON) -> list[JSON]:
    choices = answer.get("choices")
    if (
        not isinstance(choices, list)
        or not choices
        or not all(isinstance(choice, dict) for choice in choices)
    ):
        raise failures.unreadable("it has no choices")
    return choices


def _head(answer: JSON, target: Target, object: str, prefix: str) -> None:
    if not isinstance(answer.get("id"), str) or not answer["id"]:
        answer["id"] = new_id(prefix)
    answer["object"] = object
    if type(answer.get("created")) is not int:
        answer["created"] = fields.timestamp(answer.get("created")) or int(time.time())
    if not isinstance(answer.get("model"), str) or not answer["model"]:
        answer["model"] = target.model
    for name in ("service_tier", "system_fingerprint"):
        if answer.get(name, ...) is None:
            del answer[name]
    usage = fields.usage(answer.get("usage"))
    answer.pop("usage", None)
    if usage is not None:
        answer["usage"] = usage


def _calls(message: JSON) -> None:
    given = message.get("tool_calls")
    if not given:
        message.pop("tool_calls", None)
        return
    if not isinstance(given, list):
        raise failures.unreadable("the tool calls are not a list")
    message["tool_calls"] = [_call(call) for call in given]


def _call(call: Any) -> JSON:
    if not isinstance(call, dict):
        raise failures.unreadable("a tool call is not an object")
    id = call.get("id")
    if not isinstance(id, str | None):
        raise failures.unreadable(f"a tool call has the id {id!r}"[:200])
    kind = "custom" if isinstance(call.get("custom"), dict) else "function"
    body = call.get(kind)
    if not isinstance(body, dict) or not isinstance(body.get("name"), str):
        raise failures.unreadable("a tool call has no name")
    name, empty = ("input", "") if kind == "custom" else ("arguments", "{}")
    body = {**body, name: arguments_text(body.get(name)) or empty}
    call = {name: value for name, value in call.items() if name != "index"}
    return {**call, "id": id or new_id("call_"), "type": call.get("type") or kind, kind: body}


def _finish(choice: JSON, target: Target, default: str) -> None:
    given = choice.get("finish_reason")
    reason = fields.finish_reason(given)
    if reason == fields.ERROR:
        if isinstance(choice.get("error"), dict):
            raise failures.from_value(target, choice)
        raise failures.unreadable(f"it ended with the finish reason '{given}'")
    choice["finish_reason"] = reason or default


async def embeddings(body: bytes, target: Target, encoding: str, count: int) -> JSON:
    """Return embeddings in the requested encoding ("float" or "base64"), in the order of the input.

    Other requests have their turn meanwhile: a response can have millions of numbers.

    Raises ProviderBroken if there are not `count` of them.
    """
    pauses = Pauses()
    body, vectors = await _without_vectors(body, pauses)
    answer = parsed(target, body)
    data = answer.get("data")
    if not isinstance(data, list) or len(data) != count:
        raise failures.unreadable(f"it does not hold {count} embeddings")
    try:
        for position, item in enumerate(data):
            item["object"] = "embedding"
            item.setdefault("index", position)
            vector = item["embedding"]
            vector = vectors.get(vector, vector) if isinstance(vector, str) else vector
            item["embedding"] = _encoded(vector, encoding)
            await pauses.pause_if_due()
        data.sort(key=lambda item: item["index"])
    except (TypeError, KeyError, ValueError, AttributeError) as exc:
        raise failures.unreadable("an embedding is not a list of numbers") from exc
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    counts = [usage.get(name) for name in ("prompt_tokens", "total_tokens")]
    prompt, total = (count if type(count) is int else 0 for count in counts)
    answer["usage"] = {**usage, "prompt_tokens": prompt, "total_tokens": total or prompt}
    answer["object"] = "list"
    if not isinstance(answer.get("model"), str):
        answer["model"] = target.model
    return answer


async def _without_vectors(body: bytes, pauses: Pauses) -> tuple[bytes, dict[str, Any]]:
    """Return a large response with a mark for each vector of numbers, and the vectors by their marks."""
    if len(body) < LARGE_BYTES:
        return body, {}
    vectors: dict[str, Any] = {}
    pieces: list[bytes] = []
    end = 0
    start = body.find(_NAME)
    while start >= 0:
        await pauses.pause_if_due()
        match = _VECTOR.match(body, start)
        start = body.find(_NAME, start + len(_NAME) if match is None else match.end())
        if match is None:
            continue
        mark = f"vector:{len(vectors)}"  # never base64
        try:
            vectors[mark] = tolerant_json.loads(match[1])
        except ValueError:
            return body, {}
        pieces += body[end : match.start(1)], f'"{mark}"'.encode()
        end = match.end(1)
    return b"".join(pieces) + body[end:], vectors


def _encoded(vector: Any, encoding: str) -> Any:
    """Return a vector in an encoding; raise TypeError or ValueError for one that no text has."""
    if not isinstance(vector, list | str):
        raise TypeError(type(vector).__name__)
    values = array("f", base64.b64decode(vector, validate=True) if isinstance(vector, str) else vector)
    if not values or not math.isfinite(sum(values)):
        raise ValueError("it is empty, or a number of it is not finite")
    if encoding == "base64":
        return vector if isinstance(vector, str) else base64.b64encode(values.tobytes()).decode()
    return values.tolist() if isinstance(vector, str) else vector
