"""Make ProviderErrors of the errors that providers answer with, whatever their form."""

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time
from typing import Any

import orjson

from inference.errors import (
    ProviderBroken,
    ProviderError,
    ProviderLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnreadable,
)
from inference.gateway.answers import tolerant_json
from inference.gateway.routing.targets import Target
from persistence.types import JSON

TRANSIENT = frozenset({408, 409, 425, 429})
"""Statuses under 500 after which the same request may succeed."""

WRONG_ACCOUNT = frozenset({401, 402, 403, 404, 405})
"""Statuses of a wrong account or model; a fallback may have the right one."""

OVERLOADED = 529
"""Anthropic's own status; clients get 503."""

NOT_IMPLEMENTED = 501
"""The status of an operation that this server does not have for a provider."""

LONGEST_TEXT = 500
"""Characters of an error page or an unknown error object that are shown."""

_STATUS_OF = {
    "authentication_error": 401,
    "insufficient_quota": 429,
    "invalid_api_key": 401,
    "invalid_request_error": 400,
    "BadRequestError": 400,
    "model_not_found": 404,
    "not_found_error": 404,
    "NotFoundError": 404,
    "overloaded_error": 503,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "RateLimitError": 429,
    "RESOURCE_EXHAUSTED": 429,
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "UNAVAILABLE": 503,
    "requests": 429,
    "tokens": 429,
}
"""The status of an error inside a 200, by its code, type or status."""


def is_transient(error: ProviderError) -> bool:
    """Return whether to ask the same provider again.

    Not after a timeout, and not if its answer could not be read, which has been paid for.
    """
    if isinstance(error, ProviderRejected):
        return error.status in TRANSIENT
    if isinstance(error, ProviderUnreadable) or error.status == NOT_IMPLEMENTED:
        return False
    return isinstance(error, (ProviderBroken, ProviderLimited))


def may_fall_back(error: ProviderError) -> bool:
    """Return whether another provider may answer what this one did not."""
    return not isinstance(error, ProviderRejected) or error.status in TRANSIENT | WRONG_ACCOUNT


def from_response(
    target: Target, asked: str, status: int, headers: Mapping[str, str], body: bytes
) -> ProviderError:
    """Return the error of a response whose status is not 2xx; `asked` is its method and path."""
    wait = retry_after(headers)
    if not 400 <= status < 600:
        message = f"The provider '{target.provider}' answered {asked} with the unexpected status {status}."
        return ProviderBroken(message, status=502)
    details = error_details(body)
    message = details.get("message") or ""
    if not message or is_bare(message, status):
        message = f"The provider '{target.provider}' answered {asked} with {with_phrase(status)}."
    return make_error(target, status, {**details, "message": message}, wait)


def from_value(target: Target, value: Any) -> ProviderError:
    """Return the error that is the body of a 200: an object, a list or a text."""
    details = details_of(value)
    message = details.get("message") or f"The provider '{target.provider}' answered with an error."
    return make_error(target, _inner_status(value), {**details, "message": message})


def make_error(target: Target, status: int, details: JSON, retry_after: float | None = None) -> ProviderError:
    """Return the error of a status, without the target's secrets."""
    details = target.error_filter.value(details)
    if status == OVERLOADED:
        status = 503
        details = {**details, "code": details.get("code") or "overloaded"}
    kind: type[ProviderError] = ProviderBroken
    if status == 429:
        kind = ProviderLimited
    elif status < 500:
        kind = ProviderRejected
    return kind(details["message"], status=status, body=details, retry_after=retry_after)


def unreadable(reason: str) -> ProviderUnreadable:
    """Return the error of an answer that cannot be read."""
    return ProviderUnreadable(f"The provider's answer cannot be read: {reason}.", status=502)


def redirected() -> ProviderRejected:
    """Return the error of a caller's base URL that redirects."""
    message = "The provider at the given base URL redirects, which this server does not follow."
    return ProviderRejected.invalid(message, "base-url")


def cut_off() -> ProviderBroken:
    """Return the error of a stream that ended early."""
    return ProviderBroken("The provider closed the stream before its end.", status=502)


def timed_out(seconds: float) -> ProviderTimeout:
    """Return the error of a provider that sent nothing for too long."""
    return ProviderTimeout(f"The provider sent nothing for {seconds:g} seconds.", status=504)


def unreachable(reason: str) -> ProviderBroken:
    """Return the error of a connection that fails."""
    return ProviderBroken(f"The provider cannot be reached: {reason}.", status=502)


def not_offered(target: Target, operation: str) -> ProviderBroken:
    """Return the error of an operation that a driver does not offer, by its method and path."""
    message = f"This server has no '{operation}' for the provider '{target.provider}'."
    body = {"message": message, "type": "invalid_request_error", "param": "model", "code": "not_implemented"}
    return ProviderBroken(message, status=NOT_IMPLEMENTED, body=body)


def to_event(error: ProviderError) -> JSON:
    """Return the event that reports an error after the first byte."""
    return {
        "error": {
            "message": error.message,
            "type": error.body.get("type") or "server_error",
            "param": error.body.get("param"),
            "code": error.body.get("code"),
        }
    }


# --- error objects ---


_ANSWERS = frozenset({"choices", "data", "results", "usage"})


def is_error(value: Any) -> bool:
    """Return whether the JSON value of a 200 is an error, in any form that providers use."""
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], dict) and is_error(value[0])
    if not isinstance(value, dict):
        return False
    if value.get("error") or "error" in (value.get("object"), value.get("type")):
        return True
    if value.keys() & _ANSWERS:
        return False
    return "detail" in value or bool(value.get("errors")) or isinstance(value.get("message"), str)


def error_details(body: bytes) -> JSON:
    """Return `message`, `type`, `param` and `code` of an error's body; a page of HTML has none."""
    text = body.decode("utf-8", "replace").strip()
    try:
        value = tolerant_json.loads(body)
    except ValueError:
        is_text = (
            bool(text) and not text.startswith("<") and all(c.isprintable() or c.isspace() for c in text)
        )
        return {"message": text[:LONGEST_TEXT]} if is_text else {}
    return details_of(value)


def details_of(value: Any) -> JSON:
    """Return the same fields of a decoded body; providers nest them differently."""
    if isinstance(value, list):
        value = value[0] if value else {}
    error = value.get("error") or value.get("errors") or value if isinstance(value, dict) else value
    if isinstance(error, list) and error:
        error = error[0]
    if isinstance(error, str):
        outer = value if isinstance(value, dict) else {}
        return {"message": outer.get("message") or outer.get("error_description") or error, **_extras(outer)}
    error = _innermost(error)
    if not isinstance(error, dict) or not error:
        return {}
    message = error.get("message") or error.get("detail") or error.get("error")
    if not isinstance(message, str):
        message = orjson.dumps(tolerant_json.without_surrogates(message or error)).decode()[:LONGEST_TEXT]
    return {"message": tolerant_json.without_surrogates(message).strip(), **_extras(error)}


def _innermost(error: Any) -> Any:
    """Return the error that a gateway wrapped in its own."""
    inner = error.get("error") if isinstance(error, dict) else None
    return inner if isinstance(inner, dict) else error


def _extras(error: JSON) -> JSON:
    kept = {name: error[name] for name in ("type", "param", "code") if error.get(name) is not None}
    result: JSON = tolerant_json.without_surrogates(kept)
    return result


def _inner_status(value: Any) -> int:
    """Return the status that an error object names by number or word; 502 if it names none."""
    if isinstance(value, list):
        value = value[0]
    error = _innermost(value.get("error")) if isinstance(value, dict) else None
    for holder in (error, value):
        if not isinstance(holder, dict):
            continue
        for name in ("code", "status", "status_code", "statusCode", "http_status", "error_code"):
            status = _as_status(holder.get(name))
            if status is not None:
                return status
        for name in ("code", "type", "status"):
            known = holder.get(name)
            if isinstance(known, str) and known in _STATUS_OF:
                return _STATUS_OF[known]
    return 502


def _as_status(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:6])
    return value if isinstance(value, int) and 400 <= value < 600 else None


def is_bare(message: str, status: int) -> bool:
    """Return whether a message only repeats its status, as the 404 of a proxy or framework does."""
    words = re.sub(r"[^a-z ]+", " ", message.lower()).split()
    return " ".join(words) in (_phrase(status).lower(), "page not found", "not found", "error", "")


def with_phrase(status: int) -> str:
    """Return a status with its reason phrase if it has one, such as `404 Not Found`."""
    return f"{status} {_phrase(status)}".rstrip()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header in either form; None if it is missing or senseless."""
    milliseconds = headers.get("retry-after-ms")
    value = headers.get("retry-after")
    try:
        if milliseconds is not None:
            return _sensible(float(milliseconds) / 1000)
        return None if value is None else _sensible(float(value))
    except ValueError:
        pass
    try:
        return _sensible(parsedate_to_datetime(value or "").timestamp() - time())
    except (ValueError, OverflowError):
        return None


def _sensible(seconds: float) -> float | None:
    return max(0.0, seconds) if math.isfinite(seconds) else None
