"""Send requests to the provider of a model, and return the answers in OpenAI's form."""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, TypeVar

import structlog

from inference.errors import ModelNotFound, ProviderError, RoutesRefused
from inference.gateway import failures, inputs
from inference.gateway.answers import filtered, normalize, sse
from inference.gateway.answers.accumulator import joined
from inference.gateway.answers.streams import CompletionStream, read_chunks, read_frames
from inference.gateway.callers import CallerPolicy, Credentials
from inference.gateway.driver import (
    LARGEST_ANSWER,
    LARGEST_COMPLETION,
    ProviderRequest,
    ProviderResponse,
)
from inference.gateway.drivers.machine_accounts import remove_machine_accounts
from inference.gateway.drivers.responses_requests import responses_request
from inference.gateway.http.timeouts import within
from inference.gateway.paths import CHAT, COMPLETIONS, EMBEDDINGS, INPUT_TOKENS, MODERATIONS
from inference.gateway.realtime import ProviderSocket
from inference.gateway.requests import chat_request
from inference.gateway.routing.asking import Asking
from inference.gateway.routing.cooldowns import Cooldowns
from inference.gateway.routing.deployments import Deployments
from inference.gateway.routing.parameters import UnsupportedFields, with_parameters
from inference.gateway.routing.route_changes import changed_providers, note_embedding_model
from inference.gateway.routing.router import Answered, Router
from inference.gateway.routing.routes import Routes
from inference.gateway.routing.targets import Target
from inference.gateway.sender import Sender
from inference.gateway.served_models import ServedModels
from inference.local.models import LocalModels
from persistence.store import Store
from persistence.types import JSON

Item = TypeVar("Item")
OnSilence = Callable[[], None]
Read = Callable[[ProviderResponse, CompletionStream], AsyncGenerator[Item, None]]

FIRST_EVENT_WAIT = 0.75
"""Seconds of an attempt's silence after which a stream's client is sent its headers.

Most errors of providers come sooner, and keep their status.
"""

COUNTED = frozenset(
    {"input", "model", "parallel_tool_calls", "reasoning", "text", "tool_choice", "tools"},
)
"""The fields that providers' counts of input tokens have."""

log = structlog.get_logger("astrolabe.gateway")


class Gateway(ServedModels):
    """Sends requests to the provider that serves the model's name.

    Requests and answers are OpenAI's wire objects as plain dicts; a request is never changed. Every
    method raises ModelNotFound or a ProviderError; retries and fallbacks happen inside, before the
    first byte.
    """

    def __init__(
        self,
        routes: Routes,
        policy: CallerPolicy | None = None,
        local: LocalModels | None = None,
        store: Store | None = None,
    ) -> None:
        asking = Asking(policy or CallerPolicy())
        super().__init__(routes, asking, Sender(asking.policy.guard, local))
        self.deployments = Deployments(Cooldowns(store))
        self._router = Router(self.deployments)
        self._unsupported = UnsupportedFields()
        self.local = local

    async def open(self) -> None:
        """Create the drivers; called in each worker after the fork."""
        if self.routes.are_callers:
            remove_machine_accounts(os.environ)
        await self._sender.open(self.routes.wires())
        self.deployments.cooldowns.open(lambda: self.routes.have_choices)

    async def close(self) -> None:
        """Close every connection."""
        await self.deployments.cooldowns.close()
        await self._sender.close()

    async def use(self, routes: Routes) -> None:
        """Serve by other routes from now on; requests that have begun end by the old ones.

        RoutesRefused if they need the local models, which only a start of the server can start.
        """
        if "local" in routes.wires() and self.local is None:
            raise RoutesRefused("The local models were not started with the server: restart it to use them")
        await self._sender.open(routes.wires())
        before = self.routes
        for provider in changed_providers(before, routes):
            self.deployments.reset(f"{provider}/")
        self._unsupported = UnsupportedFields()
        self._use(routes)
        note_embedding_model(before, routes)

    def summary(self) -> dict[str, str]:
        """Return what an operator sees of the models at start-up."""
        return self.routes.summary()

    # --- requests ---

    async def send(self, target: Target, request: ProviderRequest) -> ProviderResponse:
        """Send one request to one target, once, and return the response; an error if it is not 2xx.

        The body arrives as the provider sends it: JSON, events, audio, files. Close the response.
        """
        return await self._sender.send(target, request)

    async def open_realtime(
        self, target: Target, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> ProviderSocket:
        """Open a WebSocket to the Realtime API of a target."""
        return await self._sender.open_realtime(target, query, headers)

    async def complete(self, request: JSON, credentials: Credentials | None = None) -> JSON:
        """Return a whole chat completion."""
        request = self._asking.filled(request, credentials)

        async def ask(target: Target, fields: JSON) -> JSON:
            answer = await self._post(target, CHAT, chat_request(fields, target))
            return normalize.completion(answer, target)

        def call(target: Target) -> Awaitable[JSON]:
            return self._unsupported.ask(target, request, ask)

        asked = self._asking.asked(self._find, request, credentials)
        asked.check = _checked
        return await self._router.answer(asked, call)

    async def embed(self, request: JSON, credentials: Credentials | None = None) -> JSON:
        """Return embeddings, in the order of the input and in the requested encoding."""
        request = self._asking.filled(request, credentials)
        encoding = request.get("encoding_format") or "float"
        parts = inputs.SplitRequest(EMBEDDINGS, request["input"])

        async def call(target: Target) -> JSON:
            async def ask(part: Any) -> JSON:
                return await self._unsupported.ask(target, {**request, "input": part}, send)

            async def send(target: Target, fields: JSON) -> JSON:
                body = await self._read(target, EMBEDDINGS, _named(fields, target))
                return await normalize.embeddings(body, target, encoding, inputs.count(fields["input"]))

            return inputs.joined_embeddings(await parts.answers(target, ask))

        return await self._router.answer(self._asking.asked(self._find, request, credentials), call)

    async def count_input(self, request: JSON, credentials: Credentials | None = None) -> int | None:
        """Return the tokens of a chat request as its provider counts them; None if it does not."""
        try:
            target = self._asking.asked(self._find, request, credentials).route.targets[0]
            if target.wire != "responses":
                return None
            body = responses_request(chat_request(with_parameters(request, target), target))
            counted = {name: body[name] for name in COUNTED & body.keys()}
            answer = await self._post(target, INPUT_TOKENS, counted)
        except (ModelNotFound, ProviderError) as exc:
            log.info("provider_counts_no_tokens", model=request["model"], reason=str(exc))
            return None
        tokens = answer.get("input_tokens")
        return tokens if isinstance(tokens, int) else None

    async def moderate(self, request: JSON, credentials: Credentials | None = None) -> JSON:
        """Return moderations, in the order of the input."""
        given = request["input"]
        parts = inputs.SplitRequest(MODERATIONS, given)

        async def call(target: Target) -> JSON:
            async def ask(part: Any) -> JSON:
                return await self._unsupported.ask(target, {**request, "input": part}, send)

            async def send(target: Target, fields: JSON) -> JSON:
                return await self._post(target, MODERATIONS, _named(fields, target))

            return inputs.joined_moderations(given, await parts.answers(target, ask))

        return await self._router.answer(self._asking.asked(self._find, request, credentials), call)

    async def forward(self, path: str, request: JSON, credentials: Credentials | None = None) -> JSON:
        """Return the answer to another JSON request that names a model."""
        if path == COMPLETIONS:
            request = self._asking.filled(request, credentials)

        async def ask(target: Target, fields: JSON) -> JSON:
            answer = await self._post(target, path, _named(fields, target))
            return normalize.text_completion(answer, target) if path == COMPLETIONS else answer

        def call(target: Target) -> Awaitable[JSON]:
            return self._unsupported.ask(target, request, ask)

        asked = self._asking.asked(self._find, request, credentials)
        asked.check = _checked if path == COMPLETIONS else None
        return await self._router.answer(asked, call)

    def targets(self, model: str, credentials: Credentials | None = None) -> tuple[Target, ...]:
        """Return the deployments of a model, with the caller's credentials."""
        return self._asking.asked(self._find, {"model": model}, credentials).route.targets

    def providers_target(
        self, model: str, provider: str, key: str, credentials: Credentials | None = None
    ) -> Target:
        """Return the deployment that has an object: that of the key, else another of its provider.

        ModelNotFound if the routes have none of the provider.
        """
        names = (model, *self.routes.routes)
        for name in names:
            with suppress(ModelNotFound):
                targets = [one for one in self.targets(name, credentials) if one.provider == provider]
                if targets:
                    return next((one for one in targets if one.key == key), targets[0])
        raise ModelNotFound(model, f"This server has no route to the provider '{provider}' any more.")

    async def first_answer(
        self, model: str, call: Callable[[Target], Awaitable[Item]], credentials: Credentials | None = None
    ) -> Item:
        """Return what `call` returns for the first target of a model that answers."""
        return await self._router.answer(self._asking.asked(self._find, {"model": model}, credentials), call)

    async def relay(
        self,
        request: JSON,
        credentials: Credentials | None = None,
        path: str = CHAT,
        on_silence: OnSilence | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield a streamed completion as Server-Sent Events, which end with exactly one `[DONE]`.

        Each item is one or more whole events, in the provider's own bytes if those are in OpenAI's
        form. Await the first item before sending anything to a client: an error before the first event
        is raised; a later one becomes an error event, which ends the stream. `on_silence` is called
        whenever an attempt has had no first event for FIRST_EVENT_WAIT seconds; the attempt goes on,
        and retries and fallbacks follow it. Closing the iterator closes the provider's response.
        """
        opened = await self._open(path, request, credentials, read_frames, on_silence)
        first, frames = opened.answer
        try:
            async with aclosing(frames):
                yield first
                try:
                    async for piece in frames:
                        yield piece
                except ProviderError as exc:
                    opened.failed(exc)
                    yield sse.frame(failures.to_event(exc))
        finally:
            opened.release()

    async def chunks(
        self,
        request: JSON,
        credentials: Credentials | None = None,
        on_silence: OnSilence | None = None,
        conversation: str = "",
    ) -> AsyncGenerator[JSON, None]:
        """Yield the chunks of `batches` one by one."""
        async with aclosing(self.batches(request, credentials, on_silence, conversation)) as batches:
            async for chunks in batches:
                for chunk in chunks:
                    yield chunk

    async def batches(
        self,
        request: JSON,
        credentials: Credentials | None = None,
        on_silence: OnSilence | None = None,
        conversation: str = "",
    ) -> AsyncGenerator[list[JSON], None]:
        """Yield a streamed chat completion as chunk objects in OpenAI's form, as many as arrive together.

        Whatever the provider sends, each chunk has this form:

        - `id` and `model` are texts, `created` is an int, `object` is `chat.completion.chunk`.
        - `choices` is a list, empty in a chunk that has only the usage. Each choice has an int
          `index`, a dict `delta`, and a `finish_reason` of None, `stop`, `length`, `tool_calls`,
          `content_filter` or `function_call`. Every choice ends with a finish reason.
        - `delta["content"]`, `refusal`, `reasoning` and `reasoning_content` are texts or None, if
          present.
        - `delta["tool_calls"]`, if present, is a list of dicts. `index` counts the calls of the
          choice; the first delta of a call has a non-empty `id` (unique in the choice), `type` and the
          whole `function.name`; later ones have `function.arguments` only. Arguments are text, and
          `{}` if the provider sent none.
        - `usage`, if present, has int `prompt_tokens`, `completion_tokens` and `total_tokens`.

        Raises a ProviderError, with the provider's words, for an error inside the stream and for an
        answer that failed, cannot be read or was cut off. These are not retried. `on_silence` is that of
        `relay`. Requests of one `conversation` are sent to one deployment, as long as it answers.
        """
        opened = await self._open(CHAT, request, credentials, read_chunks, on_silence, conversation)
        first, batches = opened.answer
        try:
            async with aclosing(batches):
                yield first
                async for batch in batches:
                    yield batch
        except ProviderError as exc:
            opened.failed(exc)
            raise
        finally:
            opened.release()

    async def _post(self, target: Target, path: str, body: JSON) -> JSON:
        content = await self._read(target, path, body)
        if path in (CHAT, COMPLETIONS) and sse.is_stream(content):
            return joined(CompletionStream(target, path, body).whole(content), path)
        return await normalize.parsed_large(target, content)

    async def _read(self, target: Target, path: str, body: JSON) -> bytes:
        async with aclosing(await self._sender.send(target, ProviderRequest("POST", path, body))) as response:
            return await response.read(LARGEST_ANSWER if path == EMBEDDINGS else LARGEST_COMPLETION)

    async def _open(
        self,
        path: str,
        request: JSON,
        credentials: Credentials | None,
        read: Read[Item],
        on_silence: OnSilence | None,
        conversation: str = "",
    ) -> "Answered[tuple[Item, AsyncGenerator[Item, None]]]":
        """Return the first item of a stream, and the rest of it."""
        request = {**self._asking.filled(request, credentials), "stream": True}

        async def ask(target: Target, fields: JSON) -> tuple[Item, AsyncGenerator[Item, None]]:
            body = chat_request(fields, target) if path == CHAT else _named(fields, target)
            response = await self._sender.send(target, ProviderRequest("POST", path, body))
            items = read(response, CompletionStream(target, path, body))
            try:
                if target.first_byte_timeout is None:
                    return await anext(items), items
                return await within(target.first_byte_timeout, anext(items)), items
            except BaseException:
                await items.aclose()
                raise

        async def call(target: Target) -> tuple[Item, AsyncGenerator[Item, None]]:
            timer = None
            if on_silence is not None:
                timer = asyncio.get_running_loop().call_later(FIRST_EVENT_WAIT, on_silence)
            try:
                return await self._unsupported.ask(target, request, ask)
            finally:
                if timer is not None:
                    timer.cancel()

        asked = self._asking.asked(
            self._find, request, credentials, is_stream=True, conversation=conversation
        )
        asked.check, asked.discard = _checked_stream, _discarded_stream
        return await self._router.start(asked, call)


async def _checked(answer: JSON) -> tuple[JSON, bool]:
    return answer, filtered.is_filtered(answer)


async def _checked_stream(answer: Any) -> tuple[Any, bool]:
    first, items = answer
    try:
        read, is_filtered = await filtered.read_verdict(first, items)
    except BaseException:
        await items.aclose()
        raise
    return (read, items), is_filtered


async def _discarded_stream(answer: Any) -> None:
    await answer[1].aclose()


def _named(request: JSON, target: Target) -> JSON:
    fields = {name: value for name, value in request.items() if value is not None}
    fields["model"] = target.model
    return fields
