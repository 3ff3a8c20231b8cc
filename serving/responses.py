"""The response stage: what a handler answers, checked against the edition and encoded."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import flask
import orjson
import structlog

from handlers.context import SEND_AGAIN, Answer, Binary, Relayed, Stream
from handlers.errors import ApiError, ServerError
from inference.gateway.relay import RelayedResponse
from persistence import large_json
from serving.interruptions import WATCH_AFTER, Interruptions
from serving.metrics import Metrics
from serving.request import Request
from serving.routes import Route
from spec.errors import InvalidResponse

RawHeaders = list[tuple[bytes, bytes]]

JSON_TYPE = (b"content-type", b"application/json")
EVENT_STREAM: RawHeaders = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
]
POLLED = {
    "thread.run": b"250",
    "vector_store.file": b"100",
    "vector_store.file_batch": b"100",
    "vector_store.files_batch": b"100",
    "batch": b"250",
}
"""Objects that clients poll, with the milliseconds after which an SDK should ask again."""

CHECKED_IN_LOOP = 1024 * 1024
"""Bytes of an answer that is checked where it is made; a larger one is checked only if it can be refused."""

log = structlog.get_logger("astrolabe.responses")


@dataclass(slots=True)
class Response:
    """An answer that is ready to be sent."""

    status: int
    headers: RawHeaders
    body: "bytes | Pieces"

    @classmethod
    def of_flask(cls, response: flask.Response) -> "Response":
        """Convert a response of Flask: an error, a hook's, or that of a route of its own."""
        return cls(response.status_code, encode_headers(response.headers.items()), response.get_data())

    def with_hooks(self, app: flask.Flask) -> "Response":
        """Run Flask's after_request hooks, which see (and may change) the head."""
        response = app.response_class(status=self.status)
        response.headers.clear()
        response.headers.extend((name.decode(), value.decode("latin-1")) for name, value in self.headers)
        response = app.process_response(response)
        return Response(response.status_code, encode_headers(response.headers.items()), self.body)


class Pieces:
    """A body in pieces, the first of which has been read, so that an error before it has a status."""

    def __init__(
        self, first: bytes | None, rest: AsyncIterator[bytes], *, is_events: bool, after_stop: str = ""
    ) -> None:
        self._first = first
        self._rest = rest
        self.is_events = is_events
        self.after_stop = after_stop

    @classmethod
    async def begin(
        cls,
        pieces: AsyncIterator[bytes],
        *,
        is_events: bool,
        after_stop: str = "",
        silence: float = 0,
        on_silence: Callable[[], None] | None = None,
    ) -> "Pieces":
        """Wait for the first piece; `on_silence` is called once if it takes longer than `silence` seconds."""
        if on_silence is None:
            return cls(await anext(pieces, None), pieces, is_events=is_events, after_stop=after_stop)
        timer = asyncio.get_running_loop().call_later(silence, on_silence)
        try:
            return cls(await anext(pieces, None), pieces, is_events=is_events, after_stop=after_stop)
        finally:
            timer.cancel()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._first is not None:
            yield self._first
            self._first = None
            async for piece in self._rest:
                yield piece

    async def close(self) -> None:
        """Close the source: a provider's call, a file."""
        close = getattr(self._rest, "aclose", None)
        if close is not None:
            await close()


class Responder:
    """Makes the response of a handler's answer.

    `strict` answers 500 where our own object is invalid. `keep_alive` is the seconds after which a
    stream is opened ahead of its first event.
    """

    def __init__(
        self, metrics: Metrics, interruptions: Interruptions, *, strict: bool, keep_alive: float
    ) -> None:
        self._metrics = metrics
        self._interruptions = interruptions
        self._strict = strict
        self._keep_alive = keep_alive

    async def respond(self, request: Request, route: Route, answer: Answer) -> Response:
        """Return the response; a stream has begun by then, so that it could still fail."""
        if isinstance(answer, dict):
            response = json_response(answer, route.status)
            if len(cast(bytes, response.body)) <= CHECKED_IN_LOOP:
                self._check(route, answer)
            elif self._strict:
                await asyncio.to_thread(self._check, route, answer)
            return response
        if isinstance(answer, Relayed):
            if large_json.is_large(answer.value):
                return json_response(answer.value, route.status, await large_json.dumps(answer.value))
            self._check_relayed(route, answer.value)
            return json_response(answer.value, route.status)
        if isinstance(answer, Stream):
            with self._interruptions.interruptible(request.receive, watch_after=WATCH_AFTER):
                events = await Pieces.begin(
                    answer.events,
                    is_events=True,
                    after_stop=answer.after_stop,
                    silence=self._keep_alive,
                    on_silence=request.open_stream,
                )
            return Response(200, EVENT_STREAM.copy(), events)
        if isinstance(answer, RelayedResponse):
            with self._interruptions.interruptible(request.receive, watch_after=WATCH_AFTER):
                return await _relayed_response(answer)
        return await _binary_response(answer)

    def _check(self, route: Route, value: Any) -> None:
        if route.validator is None:
            return
        try:
            route.validator.check(value)
        except InvalidResponse as exc:
            self._report(route, "server", exc)
            if self._strict:
                message = f"The answer of '{route.operation.id}' does not fit the edition: {exc}"
                raise ServerError(message) from exc

    def _check_relayed(self, route: Route, value: Any) -> None:
        """Check a provider's answer leniently; what does not fit is counted, and sent all the same."""
        if route.validator is None:
            return
        validator = route.validator.relayed
        if validator.complete(value):
            return
        try:
            validator.check(value)
        except InvalidResponse as exc:
            self._report(route, "provider", exc)

    def _report(self, route: Route, origin: str, reason: InvalidResponse) -> None:
        self._metrics.count_invalid(route.operation.id, origin)
        log.warning("invalid_response", operation=route.operation.id, origin=origin, reason=reason.message)


async def _binary_response(answer: Binary) -> Response:
    headers = encode_headers(answer.headers.items())
    headers += [
        (b"content-type", answer.content_type.encode("latin-1")),
        (b"content-length", b"%d" % answer.size),
    ]
    return Response(answer.status, headers, await Pieces.begin(answer.pieces, is_events=False))


async def _relayed_response(answer: RelayedResponse) -> Response:
    """Return a provider's response as it came; the first piece of a body has arrived by then."""
    headers = encode_headers(answer.headers.items())
    if isinstance(answer.body, bytes):
        headers.append((b"content-length", b"%d" % len(answer.body)))
        return Response(answer.status, headers, answer.body)
    if answer.is_events:
        names = {name for name, _ in headers}
        headers += [header for header in EVENT_STREAM if header[0] not in names]
    return Response(
        answer.status,
        headers,
        await Pieces.begin(answer.body, is_events=answer.is_events, after_stop=SEND_AGAIN),
    )


def json_response(value: Any, status: int, encoded: bytes | None = None) -> Response:
    """Return the response of an object; one that clients poll says after how long to ask again."""
    body = orjson.dumps(value) if encoded is None else encoded
    headers = [JSON_TYPE, (b"content-length", b"%d" % len(body))]
    poll_after = POLLED.get(value.get("object"))
    if poll_after is not None:
        headers.append((b"openai-poll-after-ms", poll_after))
    return Response(status, headers, body)


def error_response(error: ApiError) -> Response:
    """Return the response of an error."""
    response = json_response(error.body(), error.status)
    response.headers += encode_headers(error.headers.items())
    return response


def encode_headers(headers: Any) -> RawHeaders:
    """Return (name, value) pairs as ASGI sends them."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
