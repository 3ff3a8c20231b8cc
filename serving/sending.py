"""Sends a response over ASGI: whole, or in pieces with comments that keep a silent stream alive."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import orjson
import structlog

from handlers.astra_assistants import shares_connections
from handlers.errors import ApiError
from serving.cors import Cors
from serving.failures import error_event, revoked_error, stopping_error, to_api_error
from serving.interruptions import REVOKED, STOPPING, Interruptions
from serving.metrics import Metrics
from serving.request import Request, Send
from serving.responses import EVENT_STREAM, Pieces, RawHeaders, Response

COMMENT = b": keep-alive\n\n"

COMMON_HEADERS: RawHeaders = [
    (b"openai-version", b"2020-10-01"),
    (b"x-content-type-options", b"nosniff"),
]

log = structlog.get_logger("astrolabe.sending")


@dataclass(frozen=True, slots=True)
class Sending:
    """What every sender uses.

    `keep_alive` is the seconds of silence after which an event stream gets a comment; twice as often,
    `has_valid_key` is asked whether the stream may go on.
    """

    cors: Cors
    interruptions: Interruptions
    metrics: Metrics
    has_valid_key: Callable[[Request], Awaitable[bool]]
    keep_alive: float


class Sender:
    """Sends the one response of a request."""

    __slots__ = (
        "_is_events",
        "_is_open",
        "_is_silent",
        "_looking",
        "_opening",
        "_request",
        "_request_task",
        "_send",
        "_sending",
        "_timer",
    )

    def __init__(self, request: Request, send: Send, sending: Sending) -> None:
        self._request = request
        self._request_task = asyncio.current_task()
        self._send = send
        self._sending = sending
        self._is_events = True
        self._is_open = False
        self._is_silent = True
        self._timer: asyncio.TimerHandle | None = None
        self._opening: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def send(self, response: Response) -> None:
        """Send the response to its end, or until the client disconnects or the server stops."""
        body = response.body
        if self._is_open:
            await self._send_late(body)
        elif isinstance(body, bytes):
            await self._send_start(response.status, response.headers)
            await self._send_last(b"" if self._request.method == "HEAD" else body)
        elif self._request.method == "HEAD":
            await body.close()
            await self._send_start(response.status, response.headers)
            await self._send_last()
        else:
            with self._sending.interruptions.interruptible(self._request.receive):
                await self._send_start(response.status, response.headers)
                await self._send_pieces(body)

    def open_stream(self) -> None:
        """Send the head of an event stream ahead of its first event, and comments until it comes."""
        if self._is_open:
            return
        self._is_open = True
        self._opening = asyncio.create_task(self._open_stream())

    async def _open_stream(self) -> None:
        await self._send_start(200, EVENT_STREAM.copy())
        await self._send_piece(COMMENT)
        self._watch()

    def abandon(self) -> None:
        """Send nothing more: the client has disconnected."""
        if self._opening is not None:
            self._opening.cancel()
        self._stop_watch()

    async def _send_late(self, body: bytes | Pieces) -> None:
        """Send what follows a head that went out early; an error is an event by now."""
        if self._opening is not None:
            await self._opening
        if isinstance(body, bytes):
            await self._send_last(error_event(body))
            return
        with self._sending.interruptions.interruptible(self._request.receive):
            await self._send_pieces(body)

    async def _send_start(self, status: int, headers: RawHeaders) -> None:
        request = self._request
        milliseconds = (time.perf_counter() - request.started) * 1000
        headers += common_headers(request)
        headers.append((b"openai-processing-ms", b"%d" % milliseconds))
        if request.principal.is_astra and shares_connections(request.headers):
            headers.append((b"connection", b"close"))
        headers += self._sending.cors.headers(request)
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _send_pieces(self, pieces: Pieces) -> None:
        """Send every piece; after the first byte an error is an event, and of a file a broken connection."""
        request, send = self._request, self._send
        self._sending.metrics.open_streams.inc()
        self._is_events = pieces.is_events
        self._watch()
        try:
            async for piece in pieces:
                self._is_silent = False
                if piece:  # an empty one only opens the stream
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    request.sent += len(piece)
        except asyncio.CancelledError as exc:
            if STOPPING in exc.args:
                await self._send_failure(pieces, stopping_error(pieces.after_stop))
            elif REVOKED in exc.args:
                await self._send_failure(pieces, revoked_error())
        except Exception as exc:  # noqa: BLE001 - the outermost edge: the status is long sent
            self._log_failure(exc)
            await self._send_failure(pieces, to_api_error(exc))
        else:
            await self._send_last()
        finally:
            self._stop_watch()
            self._sending.metrics.open_streams.dec()
            await pieces.close()

    def _log_failure(self, exc: Exception) -> None:
        request, error = self._request, type(exc).__name__
        log.error("stream_failed", operation=request.operation_id, request_id=request.id, error=error)

    async def _send_failure(self, pieces: Pieces, error: ApiError) -> None:
        # A file is shorter than its Content-Length then: the server closes the connection.
        if pieces.is_events:
            await self._send_last(error_event(orjson.dumps(error.body())))

    async def _send_piece(self, piece: bytes) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        self._request.sent += len(piece)

    async def _send_last(self, piece: bytes = b"") -> None:
        """Send the end of the response, which no comment may follow."""
        self._stop_watch()
        await self._send({"type": "http.response.body", "body": piece})
        self._request.sent += len(piece)

    # --- comments and keys of open streams ---

    def _watch(self) -> None:
        """Look twice in `keep_alive` seconds whether anything was sent; one timer a stream."""
        if self._timer is None:
            seconds = self._sending.keep_alive / 2
            self._timer = asyncio.get_running_loop().call_later(seconds, self._tick)

    def _tick(self) -> None:
        if self._looking is None or self._looking.done():
            needs_comment = self._is_silent and self._is_events
            self._looking = asyncio.create_task(self._look_after(needs_comment=needs_comment))
        self._is_silent = True
        self._timer = None
        self._watch()

    async def _look_after(self, *, needs_comment: bool) -> None:
        if needs_comment:
            await self._send_piece(COMMENT)
        is_valid = await self._sending.has_valid_key(self._request)
        if not is_valid and self._request_task is not None:
            self._request_task.cancel(REVOKED)

    def _stop_watch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._looking is not None:
            self._looking.cancel()


def common_headers(request: Request) -> RawHeaders:
    """Return the headers that every response to a request has."""
    headers = [*COMMON_HEADERS, (b"x-request-id", request.id.encode())]
    if request.principal.project:
        headers.append((b"openai-project", request.principal.project.encode()))
    return headers
