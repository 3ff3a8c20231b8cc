"""Provider parameters in the headers `LLM-PARAM-*` and `EMBEDDING-PARAM-*`, cast from their text."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

import orjson

from handlers.errors import BadRequest
from inference.gateway.callers import ACCOUNT_PARAMETERS

CHAT = "llm-param-"
EMBEDDING = "embedding-param-"

SETTINGS = ACCOUNT_PARAMETERS | {"api_base", "api_key", "base_url", "custom_llm_provider"}
"""The parameters that say which provider is asked, on whose account; others are fields of its requests."""

FIELDS: Mapping[str, type] = {
    "dimensions": int, "frequency_penalty": float, "input_type": str, "keep_alive": str, "logit_bias": dict,
    "logprobs": bool, "max_completion_tokens": int, "max_tokens": int, "min_p": float, "min_tokens": int,
    "modalities": list, "n": int, "num_ctx": int, "parallel_tool_calls": bool, "presence_penalty": float,
    "prompt_cache_key": str, "reasoning_effort": str, "repetition_penalty": float, "response_format": dict,
    "safety_identifier": str, "safety_settings": list, "seed": int, "service_tier": str, "stop": list,
    "temperature": float, "thinking": dict, "top_a": float, "top_k": int, "top_logprobs": int, "top_p": float,
    "typical_p": float, "user": str, "verbosity": str,
}  # fmt: skip
"""Fields of requests to providers with their types; a field that is not here has the type of its text."""

REQUESTS_OWN = frozenset(
    {
        "encoding_format", "function_call", "functions", "input", "messages", "metadata", "model", "prompt",
        "responses_reasoning", "store", "stream", "stream_options", "tool_choice", "tools",
    }
)  # fmt: skip
"""Fields that only a request's body has."""

SERVERS_OWN = frozenset(
    {
        "aws_bedrock_runtime_endpoint", "aws_profile_name", "aws_role_name", "aws_session_name",
        "aws_sts_endpoint", "aws_web_identity_token", "azure_ad_token_provider", "client", "client_id",
        "client_secret", "extra_body", "extra_headers", "extra_query", "fallbacks", "headers", "max_retries",
        "mock_response", "mock_timeout", "mock_tool_calls", "num_retries", "proxies", "request_timeout",
        "ssl_verify", "tenant_id", "timeout", "vertex_ai_credentials", "vertex_credentials",
    }
)  # fmt: skip
"""Arguments of litellm that no provider is sent; some of them name files, hosts or code of the server."""


def read_parameters(headers: Mapping[str, str], prefix: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the SETTINGS and the fields that headers with this prefix set; BadRequest names a header."""
    settings: dict[str, str] = {}
    fields: dict[str, Any] = {}
    for header in headers:
        if not header.startswith(prefix):
            continue
        name, text = header.removeprefix(prefix).replace("-", "_"), headers[header]
        if name in SETTINGS:
            settings[name] = text
        elif not name or name in SERVERS_OWN:
            raise invalid_header(header, "names no parameter that a request may set")
        elif name in REQUESTS_OWN:
            raise invalid_header(header, f"names the field '{name}', which belongs in the request's body")
        else:
            fields[name] = _cast(header, text, FIELDS[name]) if name in FIELDS else _plain(header, text)
    return settings, fields


def invalid_header(header: str, what: str) -> BadRequest:
    """Return the error of a header, which names it."""
    return BadRequest(f"The header '{header}' {what}.", param=header, code="invalid_header")


def _cast(header: str, text: str, kind: type) -> Any:
    """Return the value of a field whose type is known."""
    try:
        value = _parsed(text, kind)
        orjson.dumps([[[[value]]]])  # as deep as in a job's payload
    except (ValueError, KeyError, TypeError):
        value = None
    if not isinstance(value, kind):
        raise invalid_header(header, f"is '{text[:64]}', which is not of the type {kind.__name__}")
    return value


def _parsed(text: str, kind: type) -> Any:
    """Return a value of JSON; raises ValueError, or KeyError for what is no truth value."""
    if kind is int:
        return int(text)
    if kind is float:
        number = float(text)
        return number if isfinite(number) else None
    if kind is bool:
        return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
    if kind is list and not text.startswith("["):
        return [text]
    return orjson.loads(text) if kind in (dict, list) else text


def _plain(header: str, text: str) -> Any:
    """Return the value of JSON that a text is, True and False in any case; else the text itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = orjson.loads(text)
    except ValueError:
        return text
    if isinstance(value, float) and text.lstrip("-").isdigit():
        return text  # an integer of more digits than a number keeps
    try:
        orjson.dumps([[[[value]]]])
    except TypeError:
        raise invalid_header(header, "is nested too deeply") from None
    return value
