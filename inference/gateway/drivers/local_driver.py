"""The driver for the local models, which llama.cpp serves on two Unix sockets."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import orjson

from inference.errors import ProviderBroken, ProviderError, ProviderRejected
from inference.gateway import chat_fields, failures, inputs
from inference.gateway.answers import normalize, sse
from inference.gateway.answers.streams import CompletionStream, read_chunks
from inference.gateway.driver import MadeResponse, ProviderRequest, ProviderResponse, one_piece
from inference.gateway.drivers import local_functions
from inference.gateway.drivers.local_functions import Call
from inference.gateway.drivers.openai_driver import LOCAL_HOST, OpenAIDriver
from inference.gateway.http.http_client import HttpClient
from inference.gateway.paths import CHAT, COMPLETIONS, EMBEDDINGS, MODERATIONS
from inference.gateway.routing.targets import Target
from inference.local.models import CHAT_SOCKET, EMBEDDING_SOCKET
from persistence.types import JSON

DIMENSIONS = 384

LONGEST_ANSWER = 512
"""Tokens of an answer, unless the request asks for more."""

LARGEST_ERROR = 64 * 1024
BASE = f"http://{LOCAL_HOST}"
TEMPERATURE = 0.2
"""What SmolLM2's authors recommend; at 1 it rambles."""

LOAD_TIMEOUT = 60.0
"""Seconds that a request waits for the models to load."""


class LocalDriver:
    """Sends requests to the process that runs the local models."""

    def __init__(self, sockets: Path) -> None:
        self._chat = OpenAIDriver(HttpClient(str(sockets / CHAT_SOCKET)))
        self._embedding = OpenAIDriver(HttpClient(str(sockets / EMBEDDING_SOCKET)))

    async def close(self) -> None:
        """Close every connection."""
        await self._chat.close()
        await self._embedding.close()

    async def send(self, target: Target, request: ProviderRequest) -> ProviderResponse:
        """Return a chat completion, a text completion or embeddings."""
        path, body = request.path, request.body
        if path == MODERATIONS:
            raise ProviderRejected.invalid("No local model does moderation.", "model", "model_not_supported")
        if not isinstance(body, dict) or path not in (CHAT, COMPLETIONS, EMBEDDINGS):
            raise failures.not_offered(target, request.described)
        if path == EMBEDDINGS:
            return _json(await self._embed(target, body))
        if path == COMPLETIONS:
            return await self._ask(target, path, body)
        _refuse_images(body)
        return await self._answer(target, chat_fields.for_local(body))

    async def _answer(self, target: Target, request: JSON) -> ProviderResponse:
        """Return a chat completion, with a function call if the request forces one."""
        call = await self._called(target, request)
        streamed = bool(request.get("stream"))
        if call is None:
            return await self._ask(target, CHAT, local_functions.without_functions(request))
        if call.arguments is not None:
            if streamed:
                return MadeResponse(_events(call.chunks(request)))
            return _json(call.completion())
        asked = call.request(request)
        if not streamed:
            return _json(call.answer(await self._complete(target, asked)))
        response = await self._ask(target, CHAT, {**asked, "stream": True})
        return MadeResponse(_call_events(call, response, CompletionStream(target, CHAT, asked)))

    async def _complete(self, target: Target, request: JSON) -> JSON:
        async with aclosing(await self._ask(target, CHAT, {**request, "stream": False})) as response:
            return normalize.completion(normalize.parsed(target, await response.read()), target)

    async def _ask(self, target: Target, path: str, request: JSON) -> ProviderResponse:
        """Send a request to the chat model, once it has been loaded."""
        await _loaded(self._chat)
        limit = request.get("max_completion_tokens") or request.get("max_tokens") or LONGEST_ANSWER
        asked = {**_tempered(request), "max_tokens": limit}
        return await _checked(self._chat, _at(target, "/v1"), path, asked)

    async def _called(self, target: Target, request: JSON) -> Call | None:
        """Return the function that this request calls; of several, the one that the model chooses."""
        calls = local_functions.candidates(request)
        if len(calls) < 2:
            return calls[0] if calls else None
        names = {"type": "string", "enum": [call.name for call in calls]}
        schema = {"type": "object", "properties": {"function": names}, "required": ["function"]}
        plain = local_functions.without_functions(request)
        chosen = Call("the best function", schema).request({**plain, "max_tokens": 64})
        text = (await self._complete(target, chosen))["choices"][0]["message"]["content"] or ""
        return next((call for call in calls if f'"{call.name}"' in text), calls[0])

    async def _embed(self, target: Target, request: JSON) -> JSON:
        """Return embeddings of 384 floats; a request for a single string goes ahead of the others."""
        if request.get("dimensions") not in (None, DIMENSIONS):
            message = f"The model '{target.model}' has only {DIMENSIONS} dimensions."
            raise ProviderRejected.invalid(message, "dimensions", "invalid_value")
        await _loaded(self._embedding)
        given, at = request["input"], _at(target, "/v1")
        body = {"input": given if isinstance(given, str) else inputs.texts(given)}
        async with aclosing(await _checked(self._embedding, at, EMBEDDINGS, body)) as response:
            return normalize.parsed(at, await response.read())


def _at(target: Target, path: str) -> Target:
    return replace(target, base_url=BASE + path)


async def _checked(driver: OpenAIDriver, target: Target, path: str, body: JSON) -> ProviderResponse:
    """Return the response of a POST; raise llama.cpp's errors with OpenAI's codes."""
    request = ProviderRequest("POST", path, body)
    response = await driver.send(target, request)
    if response.status == 200:
        return response
    async with aclosing(response):
        start = await response.start(LARGEST_ERROR)
    error = failures.from_response(target, request.described, response.status, response.headers, start)
    raise _as_openai(error) if isinstance(error, ProviderRejected) else error


async def _loaded(driver: OpenAIDriver) -> None:
    """Wait until the process has loaded its models; raise ProviderBroken if it takes too long."""
    probe = Target("local", "local", "", base_url=BASE, connect_timeout=5, read_timeout=5)
    deadline = asyncio.get_running_loop().time() + LOAD_TIMEOUT
    while True:
        try:
            async with aclosing(await driver.send(probe, ProviderRequest("GET", "/health"))) as response:
                if response.status == 200:
                    await response.read()
                    return
        except ProviderError:
            pass
        if asyncio.get_running_loop().time() > deadline:
            raise ProviderBroken("The local models do not answer.", status=503)
        await asyncio.sleep(0.1)


def _tempered(request: JSON) -> JSON:
    """Scale the temperature: 1, OpenAI's default, becomes 0.2, the model's best."""
    temperature = request.get("temperature")
    return {**request, "temperature": TEMPERATURE * (1 if temperature is None else temperature)}


async def _events(chunks: Sequence[JSON]) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        yield sse.frame(chunk)
    yield sse.DONE


async def _call_events(
    call: Call, response: ProviderResponse, stream: CompletionStream
) -> AsyncGenerator[bytes, None]:
    """Yield chunks of text as chunks of a function's arguments."""
    async with aclosing(read_chunks(response, stream)) as batches:
        async for chunks in batches:
            yield b"".join([sse.frame(call.chunk(chunk)) for chunk in chunks])
    yield sse.DONE


def _json(value: JSON) -> ProviderResponse:
    return MadeResponse(one_piece(orjson.dumps(value)))


def _refuse_images(request: JSON) -> None:
    for index, message in enumerate(request["messages"]):
        parts = message.get("content")
        if isinstance(parts, list) and any(part.get("type") not in ("text", "refusal") for part in parts):
            what = "The local model takes text only."
            raise ProviderRejected.invalid(what, f"messages[{index}].content", "unsupported_content")


def _as_openai(error: ProviderRejected) -> ProviderRejected:
    """Return llama.cpp's error with OpenAI's code, if clients act on that."""
    if "context size" not in error.message and "exceed_context_size" not in orjson.dumps(error.body).decode():
        return error
    return ProviderRejected.invalid(error.message, "messages", "context_length_exceeded")
