"""The gateway: finds a name's route, asks its targets in turn, brings the answer to the spec."""

import asyncio
import importlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import lru_cache
from typing import Any, TypeVar

import orjson

from inference.errors import ModelNotFound, ProviderError
from inference.gateway import failures, normalize, retries, sse
from inference.gateway.context_windows import context_windows
from inference.gateway.driver import Driver
from inference.gateway.local_driver import LocalDriver
from inference.gateway.openai_driver import OpenAIDriver
from inference.gateway.routes import Routes
from inference.gateway.targets import CallerPolicy, Credentials, Target, Wire
from inference.local.models import LocalModels

JSON = dict[str, Any]
Answer = TypeVar("Answer")

CHAT = "/chat/completions"
DEFAULT_CONTEXT_WINDOW = 8192


class Gateway:
    """Sends chat completions and embeddings to the provider that serves the model's name.

    Requests and answers are OpenAI's wire objects as plain dicts; a request is never changed. Every
    method raises ModelNotFound or a ProviderError; retries and fallbacks happen inside, before the
    first byte.
    """

    def __init__(
        self, routes: Routes, callers: CallerPolicy | None = None, local: LocalModels | None = None
    ) -> None:
        self._routes = routes
        self._find = lru_cache(maxsize=1024)(routes.find)
        self.local = local
        self._callers = callers or CallerPolicy()
        self._drivers: dict[Wire, Driver] = {}
        self._windows: dict[str, int] | None = None

    async def open(self) -> None:
        """Make the session; called in each worker after the fork."""
        self._drivers["openai"] = OpenAIDriver()
        if self.local is not None:
            self._drivers["local"] = LocalDriver(self.local.sockets)

        if "litellm" in self._routes.wires():
            # Seconds of import, and only where it is needed; not in the loop, which answers probes.
            module = await asyncio.to_thread(importlib.import_module, f"{__package__}.litellm_driver")
            self._drivers["litellm"] = module.LiteLLMDriver()

    async def close(self) -> None:
        """Let go of every connection."""
        for driver in self._drivers.values():
            await driver.close()
        self._drivers.clear()

    def summary(self) -> str:
        """Where models are, in one line for the operator."""
        return self._routes.summary()

    # --- models ---

    def models(self) -> list[JSON]:
        """Every route and alias as OpenAI's model object; patterns are left out."""
        return [
            self._model(route.name, route.targets[0])
            for route in self._routes.routes.values()
            if not route.is_pattern
        ]

    async def list_models(self, credentials: Credentials | None = None) -> list[JSON]:
        """`models()` and, where a pattern leads to a provider, those of its models that it matches."""
        found = {model["id"]: model for model in self.models()}
        for route in self._routes.routes.values():
            if not route.is_pattern:
                continue
            target = self._paid(route.targets[:1], credentials)[0]
            for model in await self._driver(target).list_models(target):
                name = _alias(route.name, route.targets[0].model, model.get("id"))
                if name is not None:
                    found.setdefault(name, {**self._model(name, target), **model, "id": name})
        return list(found.values())

    async def retrieve_model(self, name: str, credentials: Credentials | None = None) -> JSON:
        """One of `list_models()`; ModelNotFound."""
        target = self._routes.find(name)[0]
        if name in self._routes.routes:
            return self._model(name, target)
        listed = await self.list_models(credentials)
        for model in listed:
            if model["id"] == name:
                return model
        raise ModelNotFound(name)

    def _model(self, name: str, target: Target) -> JSON:
        return {
            "id": name,
            "object": "model",
            "created": self._routes.created,
            "owned_by": target.provider,
        }

    def default_embedding_model(self) -> str | None:
        """The model that vector stores are embedded with, or None: then search is BM25 alone."""
        return self._routes.embedding_model

    def context_window(self, model: str) -> int:
        """How many tokens the model takes, prompt and completion together.

        What the routes say, else what litellm's table says of the provider's model, else a guess.
        """
        try:
            target = self._routes.find(model)[0]
        except ModelNotFound:
            return DEFAULT_CONTEXT_WINDOW
        if target.context_window is not None:
            return target.context_window
        if self._windows is None:
            self._windows = context_windows()
        name = target.model
        return self._windows.get(name) or self._windows.get(name.rpartition("/")[2]) or DEFAULT_CONTEXT_WINDOW

    # --- requests ---

    async def complete(self, request: JSON, credentials: Credentials | None = None) -> JSON:
        """A chat completion that is not streamed."""

        async def call(target: Target) -> JSON:
            answer = await self._driver(target).complete(target, {**request, "model": target.model})
            return normalize.completion(answer, target.model)

        return await retries.first_answer(self._targets(request, credentials), call)

    async def embed(self, request: JSON, credentials: Credentials | None = None) -> JSON:
        """Embeddings, as `POST /embeddings` answers: in the input's order, in the encoding asked for."""
        encoding = request.get("encoding_format") or "float"
        count = _count(request["input"])

        async def call(target: Target) -> JSON:
            answer = await self._driver(target).embed(target, {**request, "model": target.model})
            return normalize.embeddings(answer, target.model, encoding, count)

        return await retries.first_answer(self._targets(request, credentials), call)

    async def forward(self, path: str, request: JSON, credentials: Credentials | None = None) -> JSON:
        """Another request of OpenAI's wire that names a model, answered as the provider answers it."""

        async def call(target: Target) -> JSON:
            return await self._driver(target).relay(target, path, {**request, "model": target.model})

        return await retries.first_answer(self._targets(request, credentials), call)

    async def relay(
        self, request: JSON, credentials: Credentials | None = None, path: str = CHAT
    ) -> AsyncGenerator[bytes, None]:
        """A streamed chat completion as the provider's own SSE frames, to the end of `[DONE]`.

        Each item is one or more whole frames. Await the first item before anything is sent to a
        client: an error before the first byte is raised there; later ones come as an error event,
        which is the last. Closing the iterator closes the upstream call.
        """
        first, events = await self._open(path, request, credentials)
        async with aclosing(events):
            yield first
            try:
                async for frames in events:
                    yield frames
            except ProviderError as exc:
                yield sse.frame(failures.as_event(exc))

    async def chunks(
        self, request: JSON, credentials: Credentials | None = None
    ) -> AsyncGenerator[JSON, None]:
        """A streamed chat completion as chunk objects; any error is raised as a ProviderError."""
        first, events = await self._open(CHAT, request, credentials)
        async with aclosing(events):
            for chunk in _parsed(first):
                yield chunk
            async for frames in events:
                for chunk in _parsed(frames):
                    yield chunk

    async def _open(
        self, path: str, request: JSON, credentials: Credentials | None
    ) -> tuple[bytes, AsyncGenerator[bytes, None]]:
        """The frames up to the first event of a stream, and the rest of it."""
        request = {**request, "stream": True}

        async def call(target: Target) -> tuple[bytes, AsyncGenerator[bytes, None]]:
            events = self._driver(target).stream(target, path, {**request, "model": target.model})
            try:
                return await _beginning(events), events
            except BaseException:
                await events.aclose()
                raise

        return await retries.first_answer(self._targets(request, credentials), call)

    def _targets(self, request: JSON, credentials: Credentials | None) -> tuple[Target, ...]:
        return self._paid(self._find(request["model"]), credentials)

    def _paid(self, targets: tuple[Target, ...], credentials: Credentials | None) -> tuple[Target, ...]:
        """The targets as they are, or as the caller pays for them: then one provider gets the key."""
        if credentials is None:
            return targets
        provider = targets[0].provider
        return tuple(self._callers.target(t, credentials) for t in targets if t.provider == provider)

    def _driver(self, target: Target) -> Driver:
        return self._drivers[target.wire]


async def _beginning(events: AsyncIterator[bytes]) -> bytes:
    frames = b""
    async for piece in events:
        frames += piece
        for payload in sse.payloads(piece):
            if payload.startswith(b'{"error"'):
                _parse(payload)
            return frames
    raise failures.cut_off()


def _parsed(frames: bytes) -> list[JSON]:
    return [_parse(payload) for payload in sse.payloads(frames) if payload != b"[DONE]"]


def _parse(payload: bytes) -> JSON:
    try:
        chunk = orjson.loads(payload)
    except orjson.JSONDecodeError as exc:
        raise failures.garbage("an event is no JSON") from exc
    if not isinstance(chunk, dict):
        raise failures.garbage("an event is no JSON object")
    if chunk.get("error"):
        raise failures.from_event(chunk["error"], ())
    return chunk


def _count(input: Any) -> int:
    """How many embeddings an input asks for: a list of integers is one text's tokens."""
    return len(input) if isinstance(input, list) and input and not isinstance(input[0], int) else 1


def _alias(pattern: str, upstream: str, id: Any) -> str | None:
    """The name by which `pattern` serves the provider's model `id`, or None if it does not."""
    before, star, after = upstream.partition("*")
    if not isinstance(id, str) or not star or not id.startswith(before) or not id.endswith(after):
        return None
    return pattern.replace("*", id[len(before) : len(id) - len(after)])
