"""The driver for the local models: OpenAI's wire on two sockets, and what llama.cpp leaves to do."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import orjson

from inference import tokens
from inference.errors import ProviderBroken, ProviderError, ProviderRejected
from inference.gateway import local_functions, sse
from inference.gateway.local_functions import Call
from inference.gateway.openai_driver import OpenAIDriver
from inference.gateway.targets import Target
from inference.local.models import CHAT_SOCKET, EMBEDDING_SOCKET, LONGEST_EMBEDDED

JSON = dict[str, Any]

DIMENSIONS = 384
WINDOW = LONGEST_EMBEDDED - 2
"""Tokens that are embedded at once, without the two that frame them."""

LONGEST_INPUT = 8192
"""Tokens; OpenAI's models take no longer input either."""

CHAT = "/chat/completions"
BATCH = 16
TEMPERATURE = 0.2
"""What SmolLM2's authors recommend; at 1 it rambles."""

_CLS, _SEP = 101, 102
LOADING = 60.0
"""Seconds that a request waits for the models to load."""


class LocalDriver:
    """Asks the models of the process beside the workers."""

    def __init__(self, sockets: Path) -> None:
        self._chat = OpenAIDriver(aiohttp.UnixConnector(str(sockets / CHAT_SOCKET), limit=0))
        self._embedding = OpenAIDriver(aiohttp.UnixConnector(str(sockets / EMBEDDING_SOCKET), limit=0))

    async def close(self) -> None:
        """Close every connection."""
        await self._chat.close()
        await self._embedding.close()

    async def complete(self, target: Target, request: JSON) -> JSON:
        """A chat completion."""
        _refuse_images(request)
        call = await self._called(target, request)
        if call is None:
            return await self.relay(target, CHAT, local_functions.without_functions(request))
        if call.arguments is not None:
            return call.completion()
        return call.answer(await self.relay(target, CHAT, call.request(request)))

    async def relay(self, target: Target, path: str, request: JSON) -> JSON:
        """A chat or text completion."""
        if path == "/moderations":
            raise _refused("The local models are none for moderation.", "model", "model_not_supported")
        await _loaded(self._chat)
        try:
            return await self._chat.relay(_at(target, "/v1"), path, _tempered(request))
        except ProviderRejected as exc:
            raise _as_openai(exc) from exc

    async def stream(self, target: Target, path: str, request: JSON) -> AsyncGenerator[bytes, None]:
        """A streamed completion."""
        call = None
        if path == CHAT:
            _refuse_images(request)
            call = await self._called(target, request)
        if call is not None and call.arguments is not None:
            for chunk in call.chunks(request):
                yield sse.frame(chunk)
            yield sse.DONE
            return
        plain = local_functions.without_functions(request) if path == CHAT else request
        asked = plain if call is None else call.request({**request, "stream": True})
        async with aclosing(self._frames(target, path, asked)) as frames:
            async for piece in frames:
                yield piece if call is None else _as_call(piece, call)

    async def _frames(self, target: Target, path: str, request: JSON) -> AsyncGenerator[bytes, None]:
        await _loaded(self._chat)
        try:
            async with aclosing(self._chat.stream(_at(target, "/v1"), path, _tempered(request))) as frames:
                async for piece in frames:
                    yield piece
        except ProviderRejected as exc:
            raise _as_openai(exc) from exc

    async def _called(self, target: Target, request: JSON) -> Call | None:
        """The function that this request calls; of several that are forced, the model's choice."""
        calls = local_functions.candidates(request)
        if len(calls) < 2:
            return calls[0] if calls else None
        names = {"type": "string", "enum": [call.name for call in calls]}
        schema = {"type": "object", "properties": {"function": names}, "required": ["function"]}
        plain = local_functions.without_functions({**request, "stream": False})
        chosen = Call("the best function", schema).request({**plain, "max_tokens": 64})
        answer = await self.relay(target, CHAT, chosen)
        text = answer["choices"][0]["message"]["content"]
        return next((call for call in calls if f'"{call.name}"' in text), calls[0])

    async def list_models(self, target: Target) -> list[JSON]:  # noqa: ARG002 - Driver has it
        """None but the routes' own."""
        return []

    async def embed(self, target: Target, request: JSON) -> JSON:
        """Embeddings of 384 floats; a longer text than the model takes is embedded in windows.

        The vector of such a text is the mean of its windows', by their lengths.
        """
        if request.get("dimensions") not in (None, DIMENSIONS):
            message = f"The model '{target.model}' has {DIMENSIONS} dimensions and no others."
            raise _refused(message, "dimensions", "invalid_value")
        await _loaded(self._embedding)
        texts = _texts(request["input"])
        windows = [await self._windows(target, text) for text in texts]
        flat = [window for of_text in windows for window in of_text]
        vectors = await self._vectors(target, flat)
        data, start = [], 0
        for index, of_text in enumerate(windows):
            end = start + len(of_text)
            mean = _mean(vectors[start:end], of_text)
            data.append({"object": "embedding", "index": index, "embedding": mean})
            start = end
        count = sum(map(len, flat))
        usage = {"prompt_tokens": count, "total_tokens": count}
        return {"object": "list", "data": data, "model": target.model, "usage": usage}

    async def _windows(self, target: Target, text: str) -> list[list[int]]:
        """The tokens of `text` in framed windows."""
        asked = {"content": text, "add_special": False}
        answer = await self._embedding.relay(_at(target, ""), "/tokenize", asked)
        found: list[int] = answer["tokens"]
        if len(found) > LONGEST_INPUT:
            message = (
                f"This model's maximum context length is {LONGEST_INPUT} tokens, however an input of "
                f"{len(found)} tokens was sent. Please reduce its length."
            )
            raise _refused(message, "input", "context_length_exceeded")
        cuts = range(0, len(found), WINDOW) or [0]
        return [[_CLS, *found[cut : cut + WINDOW], _SEP] for cut in cuts]

    async def _vectors(self, target: Target, windows: Sequence[list[int]]) -> list[list[float]]:
        vectors: list[list[float]] = []
        for start in range(0, len(windows), BATCH):
            asked = {"input": windows[start : start + BATCH], "model": target.model}
            answer = await self._embedding.embed(_at(target, "/v1"), asked)
            data = sorted(answer["data"], key=lambda item: item["index"])
            vectors += [item["embedding"] for item in data]
        return vectors


def _at(target: Target, path: str) -> Target:
    return replace(target, base_url=f"http://local{path}")


async def _loaded(wire: OpenAIDriver) -> None:
    """Wait until the process has loaded its models; ProviderBroken if it does not."""
    probe = Target("local", "local", "", base_url="http://local", connect_timeout=5, read_timeout=5)
    deadline = asyncio.get_running_loop().time() + LOADING
    while True:
        try:
            await wire.get(probe, "/health")
        except ProviderError as exc:
            if asyncio.get_running_loop().time() > deadline:
                raise ProviderBroken("The local models do not answer.", status=503) from exc
            await asyncio.sleep(0.1)
        else:
            return


def _texts(given: Any) -> list[str]:
    """The input as texts; tokens are taken for cl100k's, as those of OpenAI's models are."""
    items = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
    try:
        return [item if isinstance(item, str) else tokens.decode(item) for item in items]
    except ValueError as exc:
        raise _refused(f"Invalid 'input': {exc}.", "input", "invalid_value") from exc


def _mean(vectors: Sequence[Sequence[float]], windows: Sequence[Sequence[int]]) -> list[float]:
    if len(vectors) == 1:
        return list(vectors[0])
    mean = np.average(np.asarray(vectors, np.float32), axis=0, weights=[len(window) for window in windows])
    scaled: list[float] = (mean / np.linalg.norm(mean)).tolist()
    return scaled


def _tempered(request: JSON) -> JSON:
    """OpenAI's scale of temperatures, whose 1 is the default, on the model's, which is good at 0.2."""
    temperature = request.get("temperature")
    return {**request, "temperature": TEMPERATURE * (1 if temperature is None else temperature)}


def _as_call(frames: bytes, call: Call) -> bytes:
    """Frames of text as frames of a function's arguments."""
    rendered = b""
    for payload in sse.payloads(frames):
        rendered += sse.DONE if payload == b"[DONE]" else sse.frame(call.chunk(orjson.loads(payload)))
    return rendered


def _refuse_images(request: JSON) -> None:
    for place, message in enumerate(request["messages"]):
        parts = message.get("content")
        if isinstance(parts, list) and any(part.get("type") not in ("text", "refusal") for part in parts):
            what = "The local model takes text only."
            raise _refused(what, f"messages[{place}].content", "unsupported_content")


def _as_openai(error: ProviderRejected) -> ProviderRejected:
    """llama.cpp's error with OpenAI's code where a client may act on it."""
    if "context size" not in error.message and "exceed_context_size" not in orjson.dumps(error.body).decode():
        return error
    return _refused(error.message, "messages", "context_length_exceeded")


def _refused(message: str, param: str, code: str) -> ProviderRejected:
    body = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return ProviderRejected(message, status=400, body=body)
