"""Sends a response over ASGI: whole, or in pieces with comments that keep a silent stream alive."""

import asyncio
import time
from collections.abc import Awaitable

import orjson
import structlog

from handlers.errors import ApiError
from serving.cors import Cors
from serving.failures import error_event, stopping_error, to_api_error
from serving.interruptions import STOPPING, Interruptions
from serving.metrics import Metrics
from serving.request import Request, Send
from serving.responses import EVENT_STREAM, KEEP_ALIVE, Pieces, RawHeaders, Response

COMMENT = b": keep-alive\n\n"

COMMON_HEADERS: RawHeaders = [
    (b"openai-version", b"2020-10-01"),
    (b"x-content-type-options", b"nosniff"),
]

log = structlog.get_logger("astrolabe.sending")


class Sender:
    """Sends the one response of a request."""

    __slots__ = ("_cors", "_is_open", "_is_silent", "_request", "_send", "_task", "_timer")

    def __init__(self, request: Request, send: Send, cors: Cors | None) -> None:
        self._request = request
        self._send = send
        self._cors = cors
        self._is_open = False
        self._is_silent = True
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def send(self, response: Response, interruptions: Interruptions, metrics: Metrics) -> None:
        """Send the response, to the end, to the client's hang-up, or to the server's stop."""
        body = response.body
        if self._is_open:
            await self._send_late(response, interruptions, metrics)
        elif isinstance(body, bytes):
            await self._send_start(response.status, response.headers)
            if self._request.method == "HEAD":
                body = b""
            await self._send({"type": "http.response.body", "body": body})
            self._request.sent = len(body)
        elif self._request.method == "HEAD":
            await body.close()
            await self._send_start(response.status, response.headers)
            await self._send({"type": "http.response.body", "body": b""})
        else:
            with interruptions.interruptible(self._request.receive):
                await self._send_start(response.status, response.headers)
                await self._send_pieces(body, metrics)

    def open_stream(self) -> None:
        """Send the head of an event stream ahead of its first event, and comments until it comes."""
        self._is_open = True
        self._spawn(self._open_stream())

    async def _open_stream(self) -> None:
        await self._send_start(200, EVENT_STREAM.copy())
        await self._send_piece(COMMENT)
        self._keep_alive()

    async def _send_late(self, response: Response, interruptions: Interruptions, metrics: Metrics) -> None:
        """Send what follows a head that went out early; an error is an event by now."""
        if self._task is not None:
            await self._task
        body = response.body
        if isinstance(body, bytes):
            self._stop_keep_alive()
            await self._send_piece(error_event(body))
            await self._send({"type": "http.response.body", "body": b""})
            return
        with interruptions.interruptible(self._request.receive):
            await self._send_pieces(body, metrics)

    async def _send_start(self, status: int, headers: RawHeaders) -> None:
        request = self._request
        milliseconds = (time.perf_counter() - request.started) * 1000
        headers += COMMON_HEADERS
        headers.append((b"x-request-id", request.id.encode()))
        headers.append((b"openai-processing-ms", b"%d" % milliseconds))
        if request.principal.project:
            headers.append((b"openai-project", request.principal.project.encode()))
        if self._cors is not None:
            headers += self._cors.headers(request)
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _send_pieces(self, pieces: Pieces, metrics: Metrics) -> None:
        """Send every piece; after the first byte an error is an event, and of a file a broken connection."""
        request, send = self._request, self._send
        metrics.open_streams.inc()
        if pieces.is_events:
            self._keep_alive()
        try:
            async for piece in pieces:
                self._is_silent = False
                if piece:  # an empty one only opens the stream
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    request.sent += len(piece)
        except asyncio.CancelledError as exc:
            if STOPPING not in exc.args:
                return
            await self._send_failure(pieces, stopping_error())
        except Exception as exc:  # noqa: BLE001 - the outermost edge: the status is long sent
            self._log_failure(exc)
            await self._send_failure(pieces, to_api_error(exc))
        else:
            self._stop_keep_alive()
            await self._send({"type": "http.response.body", "body": b""})
        finally:
            self._stop_keep_alive()
            metrics.open_streams.dec()
            await pieces.close()

    def _log_failure(self, exc: Exception) -> None:
        request, error = self._request, type(exc).__name__
        log.error("stream_failed", operation=request.operation_id, request_id=request.id, error=error)

    async def _send_failure(self, pieces: Pieces, error: ApiError) -> None:
        # Of a file Content-Length was promised: the server breaks off what ends here, which tells the client.
        self._stop_keep_alive()
        if pieces.is_events:
            await self._send({"type": "http.response.body", "body": error_event(orjson.dumps(error.body()))})

    async def _send_piece(self, piece: bytes) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        self._request.sent += len(piece)

    # --- keep-alives ---

    def _keep_alive(self) -> None:
        """Look twice in KEEP_ALIVE seconds whether anything was sent; one timer a stream."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(KEEP_ALIVE / 2, self._tick)

    def _tick(self) -> None:
        if self._is_silent:
            self._spawn(self._send_piece(COMMENT))
        self._is_silent = True
        self._timer = None
        self._keep_alive()

    def _stop_keep_alive(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _spawn(self, work: "Awaitable[None]") -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(work)
