"""The driver for providers that do not speak OpenAI's API, through litellm.

Importing this module imports litellm, which takes seconds and 150 MB; the gateway does so only if a
route needs it.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any, TypeVar

import httpx
import orjson

# litellm reads these two only while it is imported. Without the first it fetches its table of models
# from the network; without the second it loads a .env file into os.environ.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["LITELLM_MODE"] = "PRODUCTION"

import litellm

from inference.errors import ProviderRejected
from inference.gateway import chat_fields, failures, inputs, requests
from inference.gateway.answers import sse, thinking
from inference.gateway.answers.calls import FirstCalls
from inference.gateway.driver import MadeResponse, ProviderRequest, ProviderResponse, one_piece
from inference.gateway.drivers import litellm_clients, litellm_cohere, litellm_media, litellm_messages
from inference.gateway.drivers.litellm_errors import mapped_errors
from inference.gateway.paths import CHAT, EMBEDDINGS
from inference.gateway.routing.targets import Target
from persistence.types import JSON

T = TypeVar("T")

NO_KEY = "none"
"""The key for a target with a base URL but no key; litellm would take one from os.environ instead."""


PROVIDERS_FIELDS = frozenset(
    {
        "keep_alive", "min_p", "min_tokens", "num_ctx", "repetition_penalty", "safety_settings", "think",
        "thinking", "top_a", "top_k", "typical_p",
    }
)  # fmt: skip
"""Fields of other providers that litellm knows; fields in neither list are sent as `extra_body`."""


TAKE_TOKENS = frozenset({"azure", "openai"})
"""Providers of litellm's whose embeddings take tokens; others get the text."""

CLAUDES_FIELDS = frozenset(
    {
        "cache_control", "container", "context_management", "inference_geo", "mcp_servers", "output_config",
        "stop_sequences",
    }
)  # fmt: skip
"""Fields of Anthropic's own API that litellm passes on to it."""

CLOSED = {
    CHAT: frozenset({"anthropic", "bedrock", "bedrock_converse", "replicate", "sagemaker", "sagemaker_chat"}),
    EMBEDDINGS: frozenset({"bedrock", "databricks", "gemini", "sagemaker", "vertex_ai"}),
}
"""Providers that litellm sends no `extra_body`, or sends it as a field of that name."""

EMPTY = frozenset({"annotations", "images", "thinking_blocks"})
"""Members of a message that litellm makes for some providers also where there are none."""

REPEATED = frozenset({"thinking_blocks", "reasoningContent", "reasoningContentBlocks"})
"""Members of a message's `provider_specific_fields` that its `thinking_blocks` say too."""


class LiteLLMDriver:
    """Sends requests by litellm, each once; raises only ProviderErrors."""

    def __init__(self) -> None:
        litellm.suppress_debug_info = True
        litellm_clients.install()
        litellm_cohere.install()
        logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)  # it logs the contents of requests

    async def close(self) -> None:
        """Close litellm's connections."""
        await litellm_clients.close()

    async def send(self, target: Target, request: ProviderRequest) -> ProviderResponse:
        """Return a chat completion, embeddings, or what `litellm_media` offers."""
        body = request.body
        if not isinstance(body, dict) or request.path not in (CHAT, EMBEDDINGS):
            return await litellm_media.send(target, request)
        if request.path == EMBEDDINGS:
            with mapped_errors(target):
                try:
                    answer = await _within(target, litellm.aembedding(**_embedding_arguments(target, body)))
                except litellm.LiteLLMUnknownProvider as exc:
                    raise failures.not_offered(target, request.described) from exc
                return MadeResponse(one_piece(orjson.dumps(_plain(answer))))
        with mapped_errors(target):
            answer = await _within(target, litellm.acompletion(**_chat_arguments(target, body)))
            only_one = chat_fields.wants_one_call(target.model.partition("/")[0], body)
            calls = FirstCalls() if only_one else None
            if body.get("stream"):
                return MadeResponse(_frames(target, answer, calls), "text/event-stream")
            plain = _plain(answer)
            if calls is not None:
                calls.keep_first(plain)
            return MadeResponse(one_piece(orjson.dumps(plain)))


async def _frames(target: Target, answer: Any, calls: FirstCalls | None) -> AsyncGenerator[bytes, None]:
    """Yield the chunks as events, without `[DONE]`: litellm ends broken streams like whole ones."""
    with mapped_errors(target):
        async with aclosing(answer):
            async for chunk in _timed(target, aiter(answer)):
                plain = _chunk(chunk)
                if calls is not None:
                    calls.keep_first(plain)
                yield sse.frame(plain)


def _embedding_arguments(target: Target, request: JSON) -> JSON:
    # The gateway converts the encoding; not every provider takes the parameter.
    request = {name: value for name, value in request.items() if name != "encoding_format"}
    if target.model.partition("/")[0] not in TAKE_TOKENS:
        request["input"] = inputs.texts(request["input"])
    return _arguments(target, request, EMBEDDINGS)


def _chat_arguments(target: Target, request: JSON) -> JSON:
    provider = target.model.partition("/")[0]
    request = chat_fields.for_litellm(provider, request)
    messages = litellm_messages.for_provider(provider, request["messages"])
    request = {**request, "messages": messages}
    if "claude" in target.model and not thinking.can_continue(messages):
        request = {name: value for name, value in request.items() if name not in thinking.SETTINGS}
    # Without `_skip_mcp_handler` litellm looks for MCP servers in every request with tools, and fails
    # if its extra `mcp` is not installed.
    return {**_arguments(target, request, CHAT), "_skip_mcp_handler": True}


def _arguments(target: Target, request: JSON, path: str) -> JSON:
    request, unknown = requests.split_unknown(request)
    if unknown:
        request |= _providers_own(target, unknown, path)
    arguments = {**request, "max_retries": 0, "num_retries": 0, **dict(target.parameters)}
    # The timeout of _within comes first, because litellm reports some timeouts as other errors.
    arguments["timeout"] = httpx.Timeout(target.read_timeout + 5, connect=target.connect_timeout)
    if target.base_url:
        arguments["api_base"] = target.base_url
    if target.api_key:
        arguments["api_key"] = target.api_key
    elif "aws_access_key_id" in arguments:
        arguments["api_key"] = ""  # any other would be sent instead of the signature, also os.environ's
    elif target.base_url:
        arguments["api_key"] = NO_KEY
    if target.headers:
        arguments["extra_headers"] = dict(target.headers)
    return arguments


def _providers_own(target: Target, fields: JSON, path: str) -> JSON:
    """Return fields of a provider's own as arguments; ProviderRejected names one that it cannot be sent."""
    provider = target.model.partition("/")[0]
    known = PROVIDERS_FIELDS | (CLAUDES_FIELDS if provider == "anthropic" else frozenset())
    own = {name: value for name, value in fields.items() if name in known}
    # Others must not become litellm's arguments, some of which name files, hosts and keys.
    others = {name: value for name, value in fields.items() if name not in known}
    if not others:
        return own
    if provider in CLOSED[path]:
        name = min(others)
        raise ProviderRejected.invalid(
            f"The parameter '{name}' cannot be sent to the provider '{provider}'.", name, "unknown_parameter"
        )
    return {**own, "extra_body": others}


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
    """Return the answer as OpenAI's object; messages keep what their provider wants back in the next turn."""
    value: JSON = answer.model_dump(mode="json", exclude_none=True)
    for choice in value.get("choices", ()):
        choice.pop("provider_specific_fields", None)
        for message in (choice.get("message"), choice.get("delta")):
            for name in EMPTY & (message or {}).keys():
                if not message[name]:
                    del message[name]
            kept = _wanted_back((message or {}).pop("provider_specific_fields", None) or {})
            if message and kept:
                message["provider_specific_fields"] = kept
    return value


def _wanted_back(fields: JSON) -> JSON:
    return {name: value for name, value in fields.items() if value is not None and name not in REPEATED}


def _chunk(answer: Any) -> JSON:
    chunk = _plain(answer)
    choices = chunk.setdefault("choices", [])
    for choice in choices:
        choice.setdefault("finish_reason", None)
        choice.setdefault("delta", {})
    if "usage" in chunk and not any(choice["delta"] or choice["finish_reason"] for choice in choices):
        chunk["choices"] = []  # OpenAI's last chunk has only the usage
    return chunk
