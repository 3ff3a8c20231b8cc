"""From what a provider answered, or did not, to the one tree of ProviderErrors."""

from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

import orjson

from inference.errors import (
    ProviderBroken,
    ProviderError,
    ProviderLimited,
    ProviderRejected,
    ProviderTimeout,
)

JSON = dict[str, Any]

TRANSIENT = frozenset({408, 409, 425, 429})
"""Statuses under 500 after which the same request may succeed."""

ELSEWHERE = frozenset({401, 402, 403, 404, 405})
"""Statuses that blame the provider's account or model, so that a fallback may do better."""


def is_transient(error: BaseException) -> bool:
    """Whether the same provider is worth another try; one that was silent for long is not."""
    if isinstance(error, ProviderRejected):
        return error.status in TRANSIENT
    return isinstance(error, (ProviderBroken, ProviderLimited)) and error.status != 501


def may_fall_back(error: ProviderError) -> bool:
    """Whether another provider may answer what this one did not."""
    return not isinstance(error, ProviderRejected) or error.status in TRANSIENT | ELSEWHERE


def from_answer(
    status: int, headers: Mapping[str, str], body: bytes, secrets: Iterable[str]
) -> ProviderError:
    """The error of an answer with a status of 400 and more, or of one that is none (1xx to 3xx)."""
    error = error_object(body, secrets)
    if status < 400:
        return ProviderBroken(f"The provider answered with the status {status}.", status=502)
    message = error.get("message") or f"The provider answered with the status {status}."
    wait = retry_after(headers)
    if status == 429:
        return ProviderLimited(message, status=429, body=error, retry_after=wait)
    if status < 500:
        return ProviderRejected(message, status=status, body=error, retry_after=wait)
    return ProviderBroken(message, status=status, body=error, retry_after=wait)


def from_event(error: Any, secrets: Iterable[str]) -> ProviderError:
    """The error of an `{"error": …}` that came inside a stream."""
    body = error_object(orjson.dumps({"error": error}), secrets)
    code = body.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 502
    if body.get("code") == "rate_limit_exceeded" or body.get("type") in ("requests", "tokens"):
        status = 429
    return from_answer(status, {}, orjson.dumps({"error": body}), secrets)


def garbage(what: str) -> ProviderBroken:
    """The error of an answer that cannot be read."""
    return ProviderBroken(f"The provider's answer cannot be read: {what}.", status=502)


def cut_off() -> ProviderBroken:
    """The error of a stream that ended before its end."""
    return ProviderBroken("The provider closed the stream before its end.", status=502)


def silent(seconds: float) -> ProviderTimeout:
    """The error of a provider that sent nothing for too long."""
    return ProviderTimeout(f"The provider sent nothing for {seconds:g} seconds.", status=504)


def unreachable(reason: str) -> ProviderBroken:
    """The error of a provider that no connection can be made to, or kept with."""
    return ProviderBroken(f"The provider cannot be reached: {reason}.", status=502)


def as_event(error: ProviderError) -> JSON:
    """The event that tells a client of an error after the first byte."""
    return {
        "error": {
            "message": error.message,
            "type": error.body.get("type") or "server_error",
            "param": error.body.get("param"),
            "code": error.body.get("code"),
        }
    }


def scrub(text: str, secrets: Iterable[str]) -> str:
    """`text` without any of the secrets."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def error_object(body: bytes, secrets: Iterable[str]) -> JSON:
    """OpenAI's error object out of what a provider sent; providers differ in how they nest it."""
    text = scrub(body.decode(errors="replace"), secrets)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"message": text.strip()[:500]} if _is_plain(text) else {}
    error = value.get("error", value) if isinstance(value, dict) else value
    if isinstance(error, str):
        return {"message": error}
    if not isinstance(error, dict):
        return {}
    message = error.get("message") or error.get("detail") or error.get("error")
    return {
        "message": message if isinstance(message, str) else orjson.dumps(error).decode()[:500],
        **{name: error[name] for name in ("type", "param", "code") if error.get(name) is not None},
    }


def _is_plain(text: str) -> bool:
    return bool(text.strip()) and text.isprintable() and not text.lstrip().startswith("<")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from now, of either form of the header; a negative or a broken one is none."""
    milliseconds = headers.get("retry-after-ms")
    value = headers.get("retry-after")
    try:
        if milliseconds is not None:
            return max(0.0, float(milliseconds) / 1000)
        return None if value is None else max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value or "").timestamp() - time())
    except ValueError:
        return None
