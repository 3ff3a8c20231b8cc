"""The driver for providers that do not speak OpenAI's wire, through litellm.

Importing this module imports litellm, which takes seconds and 150 MB: the gateway does so only where
a route needs it.
"""

import asyncio
import logging
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar

import httpx
import orjson

# litellm reads these two while it is imported, and nowhere else: without the first it fetches its
# table of models from the network, and without the second it loads a .env file into os.environ.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["LITELLM_MODE"] = "PRODUCTION"

import litellm
import openai
from litellm import exceptions

from inference.errors import (
    ProviderBroken,
    ProviderError,
    ProviderLimited,
    ProviderRejected,
    ProviderTimeout,
)
from inference.gateway import failures, sse
from inference.gateway.targets import Target

JSON = dict[str, Any]
T = TypeVar("T")

NO_KEY = "none"
"""Sent where a target has an address and no key: litellm would take the operator's from os.environ."""


class LiteLLMDriver:
    """Sends one request to one target, once, by litellm; raises ProviderErrors only."""

    def __init__(self) -> None:
        litellm.suppress_debug_info = True
        logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)  # it logs requests with what is in them

    async def close(self) -> None:
        """Close litellm's connections."""
        await litellm.close_litellm_async_clients()

    async def complete(self, target: Target, request: JSON) -> JSON:
        """A chat completion."""
        with _mapped(target):
            answer = await _within(target, litellm.acompletion(**_chat_arguments(target, request)))
            return _plain(answer)

    async def stream(self, target: Target, path: str, request: JSON) -> AsyncGenerator[bytes, None]:
        """A streamed chat completion, rendered anew as OpenAI's chunks."""
        if path != "/chat/completions":
            raise _not_offered(target, path)
        with _mapped(target):
            answer = await _within(target, litellm.acompletion(**_chat_arguments(target, request)))
            async with aclosing(answer):
                ended = False
                async for chunk in _timed(target, aiter(answer)):
                    rendered = _chunk(chunk)
                    ended = ended or any(choice["finish_reason"] for choice in rendered["choices"])
                    yield sse.frame(rendered)
        if not ended:  # litellm does not tell a stream that was cut off from one that ended
            raise failures.cut_off()
        yield sse.DONE

    async def embed(self, target: Target, request: JSON) -> JSON:
        """Embeddings."""
        with _mapped(target):
            # Floats, whatever was asked for: the gateway encodes them, and not every provider does.
            arguments = {**_arguments(target, request), "encoding_format": "float"}
            return _plain(await _within(target, litellm.aembedding(**arguments)))

    async def relay(self, target: Target, path: str, request: JSON) -> JSON:  # noqa: ARG002 - Driver has it
        """Refused: there is nothing else that all of litellm's providers have."""
        raise _not_offered(target, path)

    async def list_models(self, target: Target) -> list[JSON]:  # noqa: ARG002 - Driver has it
        """None but the routes' own: litellm's providers have no common list."""
        return []


def _chat_arguments(target: Target, request: JSON) -> JSON:
    # Without that, litellm looks at every request with tools for MCP servers to call by itself, and
    # fails where its extra `mcp` is not installed.
    return {**_arguments(target, request), "_skip_mcp_handler": True}


def _arguments(target: Target, request: JSON) -> JSON:
    arguments = {**request, "max_retries": 0, "num_retries": 0, **dict(target.parameters)}
    # Ours comes first (_within): litellm tells some timeouts as other errors.
    arguments["timeout"] = httpx.Timeout(target.read_timeout + 5, connect=target.connect_timeout)
    if target.base_url:
        arguments["api_base"] = target.base_url
        arguments["api_key"] = target.api_key or NO_KEY
    elif target.api_key:
        arguments["api_key"] = target.api_key
    if target.headers:
        arguments["extra_headers"] = dict(target.headers)
    return arguments


async def _within(target: Target, call: Awaitable[T]) -> T:
    async with asyncio.timeout(target.read_timeout):
        return await call


async def _timed(target: Target, items: AsyncIterator[T]) -> AsyncIterator[T]:
    while True:
        try:
            item = await _within(target, anext(items))
        except StopAsyncIteration:
            return
        yield item


def _plain(answer: Any) -> JSON:
    """The answer as OpenAI's object, without what litellm notes beside it."""
    value: JSON = answer.model_dump(mode="json", exclude_none=True)
    for choice in value.get("choices", ()):
        choice.pop("provider_specific_fields", None)
        for part in ("message", "delta"):
            choice.get(part, {}).pop("provider_specific_fields", None)
    return value


def _chunk(answer: Any) -> JSON:
    chunk = _plain(answer)
    choices = chunk.setdefault("choices", [])
    for choice in choices:
        choice.setdefault("finish_reason", None)
        choice.setdefault("delta", {})
    if "usage" in chunk and not any(choice["delta"] or choice["finish_reason"] for choice in choices):
        chunk["choices"] = []  # OpenAI's last chunk tells the usage and nothing else
    return chunk


def _not_offered(target: Target, path: str) -> ProviderRejected:
    message = f"The provider '{target.provider}' has no {path.lstrip('/')}."
    body = {"message": message, "type": "invalid_request_error", "param": "model", "code": None}
    return ProviderRejected(message, status=400, body=body)


# --- errors ---

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
"""litellm's errors as ours, the most special first; a test holds it against all that litellm has."""

_PREFIX = re.compile(r"^(?:litellm\.)?(?:\w+(?:Error|Timeout): )*(?:\w+Exception - )?")
_BYTES = re.compile(r"^b(['\"])(.*)\1$", re.DOTALL)
_SUFFIX = re.compile(r"\.? Handle with `litellm\.\w+`\.$")


@contextmanager
def _mapped(target: Target) -> Iterator[None]:
    try:
        yield
    except ProviderError:
        raise
    except TimeoutError as exc:
        raise failures.silent(target.read_timeout) from exc
    except tuple(kind for kind, *_ in CODES) as exc:
        raise as_provider_error(exc, target) from exc
    except (AttributeError, KeyError, TypeError, ValueError, orjson.JSONEncodeError) as exc:
        # What litellm stumbles over when a provider's answer is none.
        raise failures.garbage(type(exc).__name__) from exc


def as_provider_error(error: Exception, target: Target) -> ProviderError:
    """`error` by the table, with the provider's message and no key in it."""
    _, ours, status, code = next(entry for entry in CODES if isinstance(error, entry[0]))
    text = str(getattr(error, "message", None) or error)
    text = _BYTES.sub(r"\2", _SUFFIX.sub("", _PREFIX.sub("", _PREFIX.sub("", text))))
    told = failures.error_object(text.encode(), target.secrets())
    message = told.get("message") or "The provider failed."
    response = getattr(error, "response", None)
    headers = {} if response is None else {name.lower(): value for name, value in response.headers.items()}
    body = {**told, "message": message, "code": told.get("code") or code}
    return ours(message, status=status, body=body, retry_after=failures.retry_after(headers))
