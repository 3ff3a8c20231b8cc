"""Turn litellm's errors into ProviderErrors, with the provider's words and without litellm's."""

import ast
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx
import openai
import orjson
from litellm import exceptions

from inference.errors import (
    ProviderBroken,
    ProviderError,
    ProviderLimited,
    ProviderRejected,
    ProviderTimeout,
)
from inference.gateway import failures
from inference.gateway.routing.targets import Target
from persistence.types import JSON

CODES: tuple[tuple[type[Exception], type[ProviderError], int, str | None], ...] = (
    (exceptions.ContextWindowExceededError, ProviderRejected, 400, "context_length_exceeded"),
    (exceptions.ContentPolicyViolationError, ProviderRejected, 400, "content_policy_violation"),
    (exceptions.UnsupportedParamsError, ProviderRejected, 400, "unsupported_parameter"),
    (exceptions.PaymentRequiredError, ProviderRejected, 402, None),
    (openai.BadRequestError, ProviderRejected, 400, None),
    (openai.AuthenticationError, ProviderRejected, 401, None),
    (openai.PermissionDeniedError, ProviderRejected, 403, None),
    (openai.NotFoundError, ProviderRejected, 404, None),
    (openai.UnprocessableEntityError, ProviderRejected, 422, None),
    (exceptions.GuardrailRaisedException, ProviderRejected, 400, "content_policy_violation"),
    (exceptions.BlockedPiiEntityError, ProviderRejected, 400, "content_policy_violation"),
    (exceptions.SensitiveDataRouteException, ProviderRejected, 400, "content_policy_violation"),
    (exceptions.ModifyResponseException, ProviderRejected, 400, "content_policy_violation"),
    (exceptions.ModelNotMappedError, ProviderRejected, 404, "model_not_found"),
    (exceptions.BudgetExceededError, ProviderLimited, 429, "insufficient_quota"),
    (openai.RateLimitError, ProviderLimited, 429, "rate_limit_exceeded"),
    (openai.APITimeoutError, ProviderTimeout, 504, None),
    (exceptions.ServiceUnavailableError, ProviderBroken, 503, None),
    (exceptions.BadGatewayError, ProviderBroken, 502, None),
    (openai.InternalServerError, ProviderBroken, 500, None),
    (openai.APIConnectionError, ProviderBroken, 502, None),
    (openai.APIResponseValidationError, ProviderBroken, 502, None),
    (openai.OpenAIError, ProviderBroken, 502, None),
    (httpx.HTTPError, ProviderBroken, 502, None),
)
"""The ProviderError, status and code for each error of litellm, the most specific first."""

_CODES = {401: "invalid_api_key", 404: "model_not_found"}
"""The code of an error whose class has none, by its status."""

_CODE = re.compile("[a-z_]+")

_TOO_LONG = re.compile(
    r"maximum context length|context (?:length|window)|(?:prompt|input) is too long|too many tokens",
    re.IGNORECASE,
)

_RETRY_DELAY = re.compile(r'"retryDelay"\s*:\s*"(\d+(?:\.\d+)?)s"')

_CLASS = re.compile(r"^\s*(?:litellm\.)?[\w.]*(?:Error|Exception|Timeout)\b\s*[:-]\s*")
_ADVICE = re.compile(
    r"(?:Traceback \(most recent call last\)|[^.\n]*\blitellm\b|To drop (?:it|these|unsupported)"
    r"|Received Model Group).*$",
    re.DOTALL | re.IGNORECASE,
)
"""What litellm adds after the provider's words."""

_PARAMETERS = (
    re.compile(r"parameters?:?\s*[\[{(]*\s*['\"]?([a-z_]+)\b"),
    re.compile(r"support(?: tool_choice=)?\s*['\"]?([a-z_]+)['\"]?[\s,.=]"),
)
_STUMBLES = (json.JSONDecodeError, LookupError, AttributeError, TypeError)
_UNREADABLE = "Error converting to valid response"
"""litellm's words for an answer of Gemini's that lacks what every answer has."""

_NO_WORDS = re.compile(
    r"^(?:Client|Server) error '|for url '|developer\.mozilla\.org|<(?:!doctype|html|head|body)\b",
    re.IGNORECASE,
)
"""A page of HTML, or the HTTP library's text for a response without a message."""


@contextmanager
def mapped_errors(target: Target) -> Iterator[None]:
    """Raise what litellm raises in the block as a ProviderError."""
    try:
        yield
    except ProviderError:
        raise
    except TimeoutError as exc:
        raise failures.timed_out(target.read_timeout) from exc
    except tuple(kind for kind, *_ in CODES) as exc:
        raise as_provider_error(exc, target) from exc
    except (AttributeError, KeyError, TypeError, ValueError, orjson.JSONEncodeError) as exc:
        # litellm raises these for answers that it cannot read.
        raise failures.unreadable("the provider's library failed on it") from exc


def as_provider_error(error: Exception, target: Target) -> ProviderError:
    """Return the ProviderError of one of litellm's errors, or of its cause if that is more specific."""
    if target.is_callers_url and any(map(_is_redirect, _chain(error))):
        return failures.redirected()
    if _is_unreadable(error):
        return failures.unreadable("the provider's library failed on it")
    first = error
    error = next((one for one in _chain(error) if _is_specific(one)), first)
    kind, status, code = _by_table(error if isinstance(error, _MAPPED) else first)
    own = _own_status(error, first)
    if own is not None and kind is not ProviderTimeout:
        status = own
        if not issubclass(kind, _kind_of(own)):
            code = "rate_limit_exceeded" if own == 429 else None
    details = _details(error, first)
    if isinstance(error, exceptions.UnsupportedParamsError):
        details = _unsupported(error, target)
    if failures.is_bare(details.get("message") or "", status):
        answered = f"answered for '{target.model}' with {failures.with_phrase(status)}"
        details["message"] = f"The provider '{target.provider}' {answered}."
    details |= {"type": _type(status), "code": _code(details, status, code)}
    if kind is ProviderTimeout:
        details = target.error_filter.value(details)
        return ProviderTimeout(details["message"], status=504, body=details)
    wait = failures.retry_after(_headers(*_chain(first)))
    return failures.make_error(target, status, details, _retry_delay(first) if wait is None else wait)


_MAPPED = tuple(kind for kind, *_ in CODES)


def _by_table(error: Exception) -> tuple[type[ProviderError], int, str | None]:
    _, ours, status, code = next(entry for entry in CODES if isinstance(error, entry[0]))
    return ours, status, code


def _kind_of(status: int) -> type[ProviderError]:
    if status == 429:
        return ProviderLimited
    return ProviderRejected if status < 500 else ProviderBroken


def _is_unreadable(error: Exception) -> bool:
    """Return whether litellm stumbled over an answer of status 200, to which it gives statuses of its own."""
    causes = list(_chain(error))
    stumbled = any(isinstance(one, _STUMBLES) or _UNREADABLE in str(one) for one in causes)
    return stumbled and not any(isinstance(one, httpx.HTTPStatusError) for one in causes)


def _is_redirect(error: Exception) -> bool:
    return isinstance(error, httpx.HTTPStatusError) and error.response.is_redirect


def _is_specific(error: Exception) -> bool:
    """Return whether the error's status says what happened; litellm wraps other errors in 500 and 503."""
    status = _status(error)
    return status is not None and (status < 500 or status == failures.OVERLOADED)


def _chain(error: Exception) -> Iterator[Exception]:
    """Yield the error and its causes."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while isinstance(cause, Exception) and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = getattr(cause, "original_exception", None) or cause.__cause__ or cause.__context__


def _status(error: Exception) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) and 400 <= status < 600 else None


def _own_status(error: Exception, first: Exception) -> int | None:
    """Return the status of an error; instead of a 5xx of litellm's, that of the response."""
    status = _status(error)
    if status is not None and status < 500:
        return status
    responses = (one.response for one in _chain(first) if isinstance(one, httpx.HTTPStatusError))
    return next((response.status_code for response in responses if response.is_error), status)


def _type(status: int) -> str:
    """Return OpenAI's type of an error with this status."""
    if status == 429:
        return "requests"
    return "server_error" if status >= 500 else "invalid_request_error"


def _code(details: JSON, status: int, mapped: str | None) -> str | None:
    """Return OpenAI's code: what the error's class says, else the provider's word for it, else its text."""
    given = details.get("code")
    if mapped is None and isinstance(given, str) and _CODE.fullmatch(given):
        return given
    if mapped is None and status in (400, 413) and _TOO_LONG.search(details.get("message") or ""):
        return "context_length_exceeded"
    return mapped or _CODES.get(status)


def _retry_delay(error: Exception) -> float | None:
    """Return the seconds that an error of Google's names in its body, where it has no Retry-After."""
    found = _RETRY_DELAY.search(str(getattr(error, "message", None) or error))
    return float(found[1]) if found else None


def _headers(*errors: Exception) -> Mapping[str, str]:
    for error in errors:
        for holder in (error, getattr(error, "response", None)):
            headers = getattr(holder, "headers", None) or getattr(holder, "litellm_response_headers", None)
            if headers:
                found = {str(name).lower(): str(value) for name, value in headers.items()}
                if found.keys() & {"retry-after", "retry-after-ms"}:
                    return found
    return {}


def _details(*errors: Exception) -> JSON:
    """Return the provider's error object, parsed from litellm's message."""
    for error in errors:
        text = str(getattr(error, "message", None) or error)
        while (shorter := _CLASS.sub("", text)) != text:
            text = shorter
        text = _decoded(text.strip())
        for start in sorted({at for at in (text.find("{"), text.find("[")) if at >= 0}):
            details = _object(text[start:])
            if details.get("message"):
                return details
        if _NO_WORDS.search(text):
            continue
        details = failures.error_details(_ADVICE.sub("", text).strip(" .\n").encode())
        if details.get("message"):
            return details
    return {}


def _decoded(text: str) -> str:
    """Return the text of bytes that litellm has formatted with repr()."""
    if text[:2] not in ("b'", 'b"'):
        return text
    try:
        return bytes(ast.literal_eval(text)).decode("utf-8", "replace")
    except (ValueError, SyntaxError, TypeError):
        return text[2:-1]


def _object(text: str) -> JSON:
    """Return the error object that `text` begins with."""
    end = max(text.rfind("}"), text.rfind("]")) + 1
    try:
        orjson.loads(text[:end])
    except orjson.JSONDecodeError:
        return {}
    return failures.error_details(text[:end].encode())


def _unsupported(error: Exception, target: Target) -> JSON:
    text = str(getattr(error, "message", None) or error)
    found = next((match for pattern in _PARAMETERS if (match := pattern.search(text))), None)
    name = found[1] if found else None
    message = (
        f"The model '{target.model}' does not support the parameter '{name}'."
        if name
        else _ADVICE.sub("", text).strip() or "The model does not support a parameter of the request."
    )
    return {
        "message": message,
        "type": "invalid_request_error",
        "param": name,
        "code": "unsupported_parameter",
    }
