"""Decide what becomes of a chat request's fields where its provider does not speak OpenAI's API.

Every field reaches the provider, is translated, or is refused by name. Two kinds are left out: values
that ask for what happens anyway, and hints, which change nothing in an answer.
"""

from typing import Any

from inference.errors import ProviderRejected
from persistence.types import JSON

HINTS = frozenset(
    {
        "metadata", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier",
        "user",
    }
)  # fmt: skip
"""Fields about the request: left out where the provider has none like them. So is a function's `strict`."""

DEFAULTS: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "function_call": ("auto",),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "tool_choice": ("auto",),
    "tools": ([],),
    "verbosity": ("medium",),
}
"""Values of fields that ask for what happens without them."""

PARTS = {
    "anthropic": frozenset({"text", "refusal", "image_url", "file"}),
    "bedrock": frozenset({"text", "refusal", "image_url", "file"}),
    "cohere": frozenset({"text", "refusal", "image_url"}),
    "cohere_chat": frozenset({"text", "refusal", "image_url"}),
    "mistral": frozenset({"text", "refusal", "image_url"}),
}
"""The parts of contents that providers take; litellm drops others, or sends them to be refused."""

CALL_IN_PARALLEL = frozenset({"cohere", "cohere_chat", "gemini"})
"""Providers whose models cannot be kept from calling in parallel: the first call of an answer is kept."""

JSON_ONLY = "Answer with one JSON object and nothing else."
"""The instruction that stands for `json_object` where the provider has only schemas."""


def refused(name: str, what: str = "") -> ProviderRejected:
    """Return the error of a field, or of a value of it, that the model does not support."""
    message = f"This model does not support {what or 'the parameter ' + repr(name)}."
    return ProviderRejected.invalid(message, name, "unsupported_value" if what else "unsupported_parameter")


LOCAL = frozenset(
    {
        "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "messages",
        "model", "parallel_tool_calls", "presence_penalty", "response_format", "seed", "stop", "stream",
        "stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p",
    }
)  # fmt: skip
"""Fields that the local models have: llama.cpp's, and those that `local_functions` translates."""


def for_local(request: JSON) -> JSON:
    """Return a request as the local models take it; ProviderRejected names a field that they do not have."""
    request = without_hints(without_defaults(request))
    refuse_custom_tools(request)
    for name in sorted(request.keys() - LOCAL):
        raise refused(name)
    return with_allowed_tools(request)


def without_defaults(request: JSON) -> JSON:
    """Return the request without values that ask for what happens anyway."""
    return {name: value for name, value in request.items() if not is_default(name, value)}


def is_default(name: str, value: Any) -> bool:
    """Return whether a value asks for what happens anyway."""
    return value in DEFAULTS.get(name, ())


def without_hints(request: JSON) -> JSON:
    """Return the request without its hints."""
    return {name: value for name, value in request.items() if name not in HINTS}


def for_litellm(provider: str, request: JSON) -> JSON:
    """Return a request whose fields litellm translates for a provider, or refuses by name itself.

    ProviderRejected names a field that litellm would drop, or send to a provider that does not have it.
    """
    user = request.get("user") or request.get("safety_identifier")
    request = without_hints(without_defaults(request))
    if "moderation" in request:
        raise refused("moderation")
    if user and provider == "anthropic":
        request["user"] = user
    _refuse_parts(PARTS.get(provider), request["messages"])
    request = _with_tools(provider, request)
    effort, format = request.get("reasoning_effort"), request.get("response_format") or {}
    if provider in ("anthropic", "bedrock"):
        if effort == "none":  # Claude thinks only if it is asked to
            del request["reasoning_effort"]
        if format.get("type") == "json_object":
            del request["response_format"]
            request["messages"] = [{"role": "system", "content": JSON_ONLY}, *request["messages"]]
    if provider == "gemini" and effort in ("xhigh", "max"):
        request["reasoning_effort"] = "high"
    if provider == "mistral" and effort == "none":
        raise refused("reasoning_effort", "'reasoning_effort' of 'none'")
    return request


def _refuse_parts(known: frozenset[str] | None, messages: list[Any]) -> None:
    for place, message in enumerate(messages):
        content = message.get("content")
        for index, part in enumerate(content if isinstance(content, list) and known else ()):
            if part["type"] not in (known or ()):
                where = f"messages[{place}].content[{index}]"
                raise refused(where, f"content parts of type '{part['type']}'")


def _with_tools(provider: str, request: JSON) -> JSON:
    """Return the request with tools and a tool choice that the provider has."""
    refuse_custom_tools(request)
    request = with_allowed_tools(request)
    choice = request.get("tool_choice")
    if provider == "mistral" and isinstance(choice, dict):  # as a name it is lost
        request |= {"tools": _named(request, {_name(choice)}), "tool_choice": "required"}
    if provider == "bedrock" and choice == "none":
        if any(message.get("tool_calls") for message in request["messages"]):
            raise refused("tool_choice", "'tool_choice' of 'none' behind calls")
        request = {name: value for name, value in request.items() if name not in ("tools", "tool_choice")}
    if provider in CALL_IN_PARALLEL:
        request = {name: value for name, value in request.items() if name != "parallel_tool_calls"}
    return request


def wants_one_call(provider: str, request: JSON) -> bool:
    """Return whether only the first call of each answer may be kept, as the provider cannot be told so."""
    return provider in CALL_IN_PARALLEL and request.get("parallel_tool_calls") is False


def refuse_custom_tools(request: JSON) -> None:
    """Raise ProviderRejected for tools other than functions."""
    if any(tool.get("type") != "function" for tool in request.get("tools") or ()):
        raise refused("tools", "custom tools, only functions")


def with_allowed_tools(request: JSON) -> JSON:
    """Return the request with the tools that `tool_choice` allows, and without the others."""
    choice = request.get("tool_choice")
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return request
    allowed = choice["allowed_tools"]
    names = {_name(tool) for tool in allowed["tools"]}
    return {**request, "tools": _named(request, names), "tool_choice": allowed["mode"]}


def _named(request: JSON, names: set[str | None]) -> list[JSON]:
    return [tool for tool in request.get("tools") or () if _name(tool) in names]


def _name(tool: JSON) -> str | None:
    name: str | None = (tool.get("function") or {}).get("name")
    return name
