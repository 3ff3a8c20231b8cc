"""Read fields of completions whose form differs between providers."""

import math
from typing import Any

from inference.gateway import failures
from persistence.types import JSON

ERROR = "error"
"""What `finish_reason` returns for a failed answer."""

TEXTS = frozenset({"refusal", "reasoning", "reasoning_content"})
"""Fields of a message, beside its content, that are text or null."""

_OBJECTS = frozenset({"audio", "function_call"})
_LISTS_OF_OBJECTS = frozenset({"annotations", "images"})

_MOST_TOKENS = 2**53

FINISH_REASONS = {
    **dict.fromkeys(("stop", "stop_sequence", "end_turn", "eos", "eos_token", "complete"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "model_length", "token_limit"), "length"),
    **dict.fromkeys(("tool_calls", "tool_use", "tool_call", "function_calls"), "tool_calls"),
    "function_call": "function_call",
    **dict.fromkeys(
        (
            "content_filter", "content_filtered", "sensitive", "safety", "recitation", "blocklist",
            "prohibited_content", "spii", "refusal", "guardrail_intervened", "moderation",
        ),
        "content_filter",
    ),
    **dict.fromkeys(("error", "failed", "network_error", "insufficient_system_resource", "abort"), ERROR),
}  # fmt: skip
"""OpenAI's finish reason, or ERROR, for every finish reason that providers are known to send."""


def finish_reason(value: Any) -> str | None:
    """Return OpenAI's finish reason (`stop` for unknown ones), ERROR for a failed answer, None for none."""
    if not isinstance(value, str) or not value or value.lower() in ("null", "none"):
        return None
    return FINISH_REASONS.get(value) or FINISH_REASONS.get(value.lower(), "stop")


def text(value: Any) -> str | None:
    """Return the text of a content, which is a text, None or a list of parts; else raise ProviderBroken."""
    if isinstance(value, str | None):
        return value
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise failures.unreadable(f"a content is {_kind(value)}")
    return "".join(map(_part, value))


def check_message(message: JSON) -> None:
    """Raise ProviderBroken if a field of a message (or delta) beside its texts and calls cannot be read."""
    for name in _OBJECTS & message.keys():
        if not isinstance(message[name], dict | None):
            raise failures.unreadable(f"its {name} is not an object")
    audio = message.get("audio") or {}
    if not isinstance(audio.get("data"), str | None):
        raise failures.unreadable("its audio has no readable data")
    for name in _LISTS_OF_OBJECTS & message.keys():
        members = message[name] or []
        if not isinstance(members, list) or not all(isinstance(one, dict) for one in members):
            raise failures.unreadable(f"its {name} are not a list of objects")
    for image in message.get("images") or ():
        url = image.get("image_url")
        if not isinstance(url, dict) or not isinstance(url.get("url"), str):
            raise failures.unreadable("an image has no URL")


def check_logprobs(choice: JSON) -> None:
    """Raise ProviderBroken if the logprobs of a choice of a chat completion cannot be read."""
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, dict | None) or not isinstance((logprobs or {}).get("content"), list | None):
        raise failures.unreadable("its logprobs are not an object")
    for token in (logprobs or {}).get("content") or ():
        others = (token.get("top_logprobs") or []) if isinstance(token, dict) else []
        if not isinstance(others, list) or not all(map(_is_logprob, (token, *others))):
            raise failures.unreadable("a logprob is not one of a token")


def _is_logprob(value: Any) -> bool:
    """Return whether a value is a token with its log probability, which may be unknown."""
    if not isinstance(value, dict) or not isinstance(value.get("token"), str):
        return False
    octets = value.get("bytes")
    return isinstance(value.get("logprob"), int | float | None) and isinstance(octets, list | None)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or not part.keys() & {"text", "type"}:
        raise failures.unreadable(f"a part of a content is {_kind(part)}")
    given = part.get("text")
    if isinstance(given, dict):
        given = given.get("value")
    if not isinstance(given, str | None):
        raise failures.unreadable(f"the text of a part is {_kind(given)}")
    return given or ""


def _kind(value: Any) -> str:
    return {bool: "true or false", int: "a number", float: "a number", dict: "an object"}.get(
        type(value), "a list" if isinstance(value, list) else "null"
    )


def timestamp(value: Any) -> int | None:
    """Return a Unix time in whole seconds, also from text or a fraction; None if it is not a time."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return int(seconds) if math.isfinite(seconds) and seconds >= 0 else None


def usage(value: Any) -> JSON | None:
    """Return usage with whole numbers, None if it is empty; raise ProviderBroken if it cannot be read."""
    if value is None or value == {}:
        return None
    if not isinstance(value, dict):
        raise failures.unreadable("the usage is not an object")
    counts = {
        name: value[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens") if name in value
    }
    if len(counts) == 3 and all(
        type(count) is int and 0 <= count < _MOST_TOKENS for count in counts.values()
    ):
        return value
    prompt = _count(value, "prompt_tokens", "input_tokens")
    completion = _count(value, "completion_tokens", "output_tokens")
    total = _count(value, "total_tokens") or prompt + completion
    return {**value, "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}


def _count(usage: JSON, *names: str) -> int:
    for name in names:
        count = usage.get(name)
        if count is None:
            continue
        if isinstance(count, bool) or not isinstance(count, int | float) or not abs(count) < _MOST_TOKENS:
            raise failures.unreadable(f"the usage has {name} {count!r}"[:200])
        return max(int(count), 0)
    return 0
