"""Answers on their way out: rendered, held against the edition, sent whole or piece by piece."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import flask
import orjson

from handlers.context import Binary, Stream
from handlers.errors import ApiError, ServerError, Unavailable, map_error
from serving.wire import Receive, Send

JSON_TYPE = "application/json"
SSE_HEADERS = [
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),  # nginx would hold events back
]

HUNG_UP = "the client hung up"
STOPPING = "the server is stopping"


@dataclass(slots=True)
class Reply:
    """An answer that is ready to go: its head and its body."""

    status: int
    headers: list[tuple[str, str]]
    body: "bytes | Pieces"

    @classmethod
    def of(cls, response: flask.Response) -> "Reply":
        """What Flask has made: an error, a hook's answer, a route's of its own."""
        body = response.get_data()
        return cls(response.status_code, list(response.headers), body)

    def hooked(self, app: flask.Flask) -> "Reply":
        """The same after Flask's after_request hooks, which see (and may change) the head."""
        response = app.response_class(status=self.status)
        response.headers.clear()
        response.headers.extend(self.headers)
        response = app.process_response(response)
        return Reply(response.status_code, list(response.headers), self.body)


class Pieces:
    """A body that comes in pieces and has begun, so that what fails before its first byte has a status."""

    def __init__(self, first: bytes | None, rest: AsyncIterator[bytes], *, is_events: bool) -> None:
        self._first = first
        self._rest = rest
        self.is_events = is_events

    @classmethod
    async def begin(cls, rest: AsyncIterator[bytes], *, is_events: bool) -> "Pieces":
        """Wait for the first piece; raises whatever the source does."""
        return cls(await anext(rest, None), rest, is_events=is_events)

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


async def begin_reply(answer: Stream | Binary) -> Reply:
    """The reply of an answer that comes in pieces."""
    if isinstance(answer, Stream):
        return Reply(200, SSE_HEADERS.copy(), await Pieces.begin(answer.events, is_events=True))
    headers = [
        ("content-type", answer.content_type),
        ("content-length", str(answer.size)),
        *((name.lower(), value) for name, value in answer.headers.items()),
    ]
    return Reply(answer.status, headers, await Pieces.begin(answer.pieces, is_events=False))


def whole_reply(value: Any, status: int) -> Reply:
    """The reply of an object."""
    body = orjson.dumps(value)
    return Reply(status, [("content-type", JSON_TYPE), ("content-length", str(len(body)))], body)


def error_reply(error: ApiError) -> Reply:
    """The reply of an error."""
    reply = whole_reply(error.body(), error.status)
    reply.headers += error.headers.items()
    return reply


def error_response(app: flask.Flask, error: ApiError) -> flask.Response:
    """The same as Flask's error handlers return it."""
    response = app.response_class(orjson.dumps(error.body()), status=error.status, content_type=JSON_TYPE)
    response.headers.update(error.headers)
    return response


async def send_pieces(
    send: Send, pieces: Pieces, on_sent: Callable[[int], None], on_failure: Callable[[BaseException], None]
) -> None:
    """Send every piece; after the first byte an error is an event, and of a file a broken connection.

    The task is cancelled with HUNG_UP or STOPPING; the latter still tells the client.
    """
    try:
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            on_sent(len(piece))
    except asyncio.CancelledError as exc:
        if STOPPING not in exc.args:
            return
        error: ApiError = stopping()
    except Exception as exc:  # noqa: BLE001 - the outermost edge: the status is long sent
        on_failure(exc)
        error = map_error(exc) or ServerError("The server had an error while streaming its answer.")
    else:
        await send({"type": "http.response.body", "body": b""})
        return
    if pieces.is_events:
        await send({"type": "http.response.body", "body": error_frame(error)})
    # Of a file Content-Length was promised: the server breaks off what ends here, which tells the client.


def stopping() -> ApiError:
    """What a client is told whose answer the server's stop cuts off."""
    return Unavailable("The server is stopping; ask again.", headers={"Retry-After": "1"})


def error_frame(error: ApiError) -> bytes:
    """An error as a Server-Sent Event, which OpenAI's SDK raises as an APIError."""
    return b"event: error\ndata: " + orjson.dumps(error.body()) + b"\n\n"


async def cancel_on_hang_up(receive: Receive, task: "asyncio.Task[Any]") -> None:
    """Cancel `task` once the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel(HUNG_UP)
