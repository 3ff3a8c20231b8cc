"""Answers on their way out: rendered, held against the edition, sent whole or piece by piece."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import flask
import orjson
from astrolabe_server.handlers.context import Answer, Binary, Stream
from astrolabe_server.handlers.errors import ApiError, ServerError, Unavailable, translate
from astrolabe_server.serving.wire import Receive, Send

JSON_TYPE = "application/json"
SSE_TYPE = "text/event-stream; charset=utf-8"

HUNG_UP = "the client hung up"
STOPPING = "the server is stopping"


@dataclass(slots=True)
class Reply:
    """An answer that is ready to go: its head, as Flask's hooks have left it, and its body."""

    head: flask.Response
    body: "bytes | Pieces"


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


async def begin_reply(app: flask.Flask, answer: Stream | Binary) -> Reply:
    """The reply of an answer that comes in pieces."""
    if isinstance(answer, Stream):
        pieces = await Pieces.begin(answer.events, is_events=True)
        head = app.response_class(status=200, content_type=SSE_TYPE)
        head.headers["Cache-Control"] = "no-cache"
        head.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
        return Reply(head, pieces)
    pieces = await Pieces.begin(answer.pieces, is_events=False)
    head = app.response_class(status=answer.status, content_type=answer.content_type)
    head.headers.update(answer.headers)
    head.headers["Content-Length"] = str(answer.size)
    return Reply(head, pieces)


def whole_reply(app: flask.Flask, value: Answer, status: int) -> Reply:
    """The reply of an object."""
    body = orjson.dumps(value)
    head = app.response_class(status=status, content_type=JSON_TYPE)
    head.headers["Content-Length"] = str(len(body))
    return Reply(head, body)


def error_reply(app: flask.Flask, error: ApiError) -> flask.Response:
    """An error as Flask's error handlers return it."""
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
        error: ApiError = Unavailable("The server is stopping; ask again.", headers={"Retry-After": "1"})
    except Exception as exc:  # noqa: BLE001 - the outermost edge: the status is long sent
        on_failure(exc)
        error = translate(exc) or ServerError("The server had an error while streaming its answer.")
    else:
        await send({"type": "http.response.body", "body": b""})
        return
    if not pieces.is_events:
        raise Truncated  # Content-Length was promised: only a broken connection tells the client
    await send({"type": "http.response.body", "body": error_frame(error)})


class Truncated(Exception):
    """A file's bytes ended before their promised length."""


def error_frame(error: ApiError) -> bytes:
    """An error as a Server-Sent Event, which OpenAI's SDK raises as an APIError."""
    return b"event: error\ndata: " + orjson.dumps(error.body()) + b"\n\n"


async def cancel_on_hang_up(receive: Receive, task: "asyncio.Task[Any]") -> None:
    """Cancel `task` once the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel(HUNG_UP)
