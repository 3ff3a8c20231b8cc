"""Convert a caller's chat request to one that its provider accepts."""

from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from inference.errors import ProviderRejected
from inference.gateway.drivers.responses_members import for_chat
from inference.gateway.routing.targets import Target, UnknownFields
from persistence.types import JSON

CHAT_FIELDS = frozenset(
    {
        "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
        "max_completion_tokens", "max_tokens", "messages", "metadata", "modalities", "model", "moderation",
        "n", "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key",
        "prompt_cache_options", "prompt_cache_retention", "reasoning_effort", "response_format",
        "safety_identifier", "seed", "service_tier", "stop", "store", "stream", "stream_options",
        "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity",
        "web_search_options",
    }
)  # fmt: skip
"""The fields of OpenAI's own chat request; a test compares them with the edition."""

_NAMED = frozenset({"role", "content", "name"})
MESSAGE_FIELDS = {
    "system": _NAMED,
    "developer": _NAMED,
    "user": _NAMED,
    "function": _NAMED,
    "tool": frozenset({"role", "content", "tool_call_id"}),
    "assistant": _NAMED | {"audio", "function_call", "refusal", "tool_calls"},
}
PART_FIELDS = frozenset(
    {"type", "text", "refusal", "image_url", "input_audio", "file", "prompt_cache_breakpoint"}
)
CALL_FIELDS = frozenset({"id", "type", "function", "custom"})
FUNCTION_FIELDS = frozenset({"name", "arguments", "input"})

OPENAI_HOSTS = ("api.openai.com", ".openai.azure.com", ".api.openai.com")
"""Hosts for which unknown fields are refused by name; a leading dot stands for all subdomains."""

REASONING = "responses_reasoning"
"""A field of the server's own: the Responses API's `reasoning`, of which chat completions have the effort."""

STRICT_HOSTS = (*OPENAI_HOSTS, "api.mistral.ai", "api.groq.com", "api.cerebras.ai")
"""Hosts that refuse messages with unknown members."""


def chat_request(request: JSON, target: Target) -> JSON:
    """Return the request for `target`; the given one is not changed.

    Null means absent. Unknown fields are passed on, dropped or refused, as the route's `unknown_fields`
    says; by default they are refused for OpenAI itself. ProviderRejected names the field.
    """
    fields = {name: value for name, value in request.items() if value is not None}
    fields["model"] = target.model
    if target.wire != "responses":
        fields.pop(REASONING, None)
    mode = _top_level(target)
    if mode != "pass" and not fields.keys() <= CHAT_FIELDS:
        unknown = sorted(fields.keys() - CHAT_FIELDS)
        if mode == "refuse":
            raise unknown_field(unknown[0])
        fields = {name: value for name, value in fields.items() if name in CHAT_FIELDS}
    messages = fields.get("messages")
    if isinstance(messages, list):
        is_strict = _is_strict(target)
        if target.wire != "responses":
            takes_breakpoints = target.wire == "openai" and (is_openai(target) or not is_strict)
            fields = for_chat(fields, target, takes_breakpoints=takes_breakpoints)
        fields["messages"] = [_message(message, is_strict=is_strict) for message in fields["messages"]]
    return fields


def unknown_field(name: str) -> ProviderRejected:
    """Return the error of a field that the provider's API does not have."""
    message = f"Unrecognized request argument supplied: {name}"
    return ProviderRejected.invalid(message, name, "unknown_parameter")


def is_openai(target: Target) -> bool:
    """Return whether a target is OpenAI's own API, or Azure's."""
    return target.wire in ("openai", "responses") and _is_host(target.base_url, OPENAI_HOSTS)


def split_unknown(request: JSON) -> tuple[JSON, JSON]:
    """Return the fields that OpenAI's request has, and the others."""
    if request.keys() <= CHAT_FIELDS | _EMBEDDING_FIELDS:
        return request, {}
    known = {name: value for name, value in request.items() if name in CHAT_FIELDS | _EMBEDDING_FIELDS}
    return known, {name: value for name, value in request.items() if name not in known}


_EMBEDDING_FIELDS = frozenset({"input", "dimensions", "encoding_format"})


def _top_level(target: Target) -> UnknownFields:
    if target.unknown_fields is not None:
        return target.unknown_fields
    if target.wire == "local":
        return "drop"
    return "refuse" if target.wire == "openai" and is_openai(target) else "pass"


def _is_strict(target: Target) -> bool:
    """Return whether unknown members of messages are left out."""
    if target.unknown_fields is not None:
        return target.unknown_fields != "pass"
    return target.wire == "openai" and _is_host(target.base_url, STRICT_HOSTS)


@lru_cache(maxsize=1024)
def _is_host(base_url: str, hosts: tuple[str, ...]) -> bool:
    host = urlsplit(base_url).hostname or ""
    return any(host == known or (known.startswith(".") and host.endswith(known)) for known in hosts)


def _message(message: Any, *, is_strict: bool) -> Any:
    if not isinstance(message, dict):
        return message
    known = MESSAGE_FIELDS.get(message.get("role", "")) if is_strict else None
    plain = _members(message, known)
    content, calls = message.get("content"), plain.get("tool_calls")
    if content is None and "content" in message:
        plain = {**plain, "content": None}
    elif isinstance(content, list):
        parts = [_members(part, PART_FIELDS if is_strict else None) for part in content]
        plain = {**plain, "content": parts} if parts != content else plain
    if isinstance(calls, list):
        kept = [_call(call, is_strict=is_strict) for call in calls]
        plain = {**plain, "tool_calls": kept} if kept != calls else plain
    audio = plain.get("audio")
    if is_strict and isinstance(audio, dict):
        plain = {**plain, "audio": {"id": audio.get("id")}}
    return plain


def _call(call: Any, *, is_strict: bool) -> Any:
    plain = _members(call, CALL_FIELDS if is_strict else None)
    for kind in ("function", "custom") if isinstance(plain, dict) else ():
        function = plain.get(kind)
        kept = _members(function, FUNCTION_FIELDS if is_strict else None)
        if kept is not function:
            plain = {**plain, kind: kept}
    return plain


def _members(value: Any, known: frozenset[str] | None) -> Any:
    """Return an object without nulls and unknown members; itself if it has none, as a request is long."""
    if not isinstance(value, dict):
        return value
    if None not in value.values() and (known is None or value.keys() <= known):
        return value
    return {
        name: item for name, item in value.items() if item is not None and (known is None or name in known)
    }
