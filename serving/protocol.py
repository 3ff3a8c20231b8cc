"""The HTTP/1.1 protocol of a connection: bounds on time and size, and one write for head and body."""

import asyncio
import heapq
from asyncio import AbstractEventLoop, TimerHandle, Transport
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from handlers.errors import ApiError, BadRequest, Unavailable
from serving.cork import Cork
from serving.heads import largest_part
from serving.read_turns import PacedFlow, ReadTurns
from serving.responses import error_response

UPGRADE_TOKENS = (b"upgrade", b"http2-settings")
"""Headers of a request to upgrade, which Connection names too."""

MAX_HEAD = 64 * 1024
"""Bytes that a request's line and headers may take, and its trailers; the parser itself has no bound."""

BODY_PROGRESS = 32 * 1024
"""Bytes of a body, or its end, that must arrive within each `body_seconds`."""

EVICTED_SHARE = 20
"""One in so many connections is closed at once where there are too many."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The bounds of a worker's connections; times are in seconds.

    `head_seconds` is the time for a request's head, `body_seconds` that for each BODY_PROGRESS bytes
    of its body, `whole_body_seconds` that for all of it, and `send_seconds` that in which a client must
    read some of its response. A WebSocket's messages have those of bodies, and up to `message_bytes`;
    it gets a ping after `ping_seconds`.
    """

    connections: int
    head_seconds: float
    body_seconds: float
    whole_body_seconds: float
    send_seconds: float
    message_bytes: int
    ping_seconds: float


class RequestParser(HttpRequestParser):
    """httptools' parser, which stops at a request that asks for another protocol and drops its body.

    The protocol then reads such a request again.
    """

    def __init__(self, protocol: "Protocol") -> None:
        super().__init__(protocol)
        self._protocol = protocol

    def feed_data(self, data: bytes) -> None:
        """Parse what has come."""
        try:
            super().feed_data(data)
        except HttpParserUpgrade as exc:
            self._protocol.on_upgrade(bytes(data[exc.args[0] :]))


class HeadTooLarge(Exception):
    """Stops the parser at a head that was refused."""


class BoundedWriting(asyncio.Protocol):
    """A protocol that disconnects a client which reads nothing of what is sent to it."""

    transport: Transport
    loop: AbstractEventLoop
    _limits: ConnectionLimits

    _send_timer: TimerHandle | None = None
    """Runs while the client does not read what is sent to it."""

    def pause_writing(self) -> None:
        """Have the application wait, for a limited time, until the client has read some of its response."""
        super().pause_writing()
        self._start_send_timer()

    def resume_writing(self) -> None:
        """Let the application go on."""
        self._stop_send_timer()
        super().resume_writing()

    def _start_send_timer(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        self._send_timer = self.loop.call_later(self._limits.send_seconds, self._on_send_timeout, unsent)

    def _stop_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def _on_send_timeout(self, unsent: int) -> None:
        self._send_timer = None
        if self.transport.get_write_buffer_size() < unsent:
            self._start_send_timer()
        else:
            self.transport.abort()


class Protocol(BoundedWriting, HttpToolsProtocol):
    """uvicorn's protocol with bounds, whose connection can become a WebSocket's.

    Other requests to upgrade are served as they are. HTTP allows a server to ignore an Upgrade; the
    JDK's client asks for `h2c` by default.
    """

    _head: bytearray | None = None
    """What has come of the head that is being read; None between heads."""

    _read = 0
    """Bytes that came last."""

    _is_upgrade = False
    """Whether the request whose head was read asks for another protocol."""

    _in_request = False
    """Whether a request has begun to arrive and has not arrived whole."""

    _got_body = False
    """Whether the last bytes held some of the body, not only chunk sizes and trailers."""

    _overhead = 0
    """Bytes since the last ones of the body."""

    _body_began = 0.0
    """When the head of the request that is being read had arrived, on the loop's clock."""

    _progress = 0
    """Bytes since the timer of the body was started."""

    _was_paused = False
    """Whether the server itself did not read when that timer was started."""

    _timer: TimerHandle | None = None

    _is_websocket = False
    """Whether the connection has become that of a WebSocket, which has a protocol of its own."""

    def __init__(self, *args: Any, limits: ConnectionLimits, turns: ReadTurns, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._turns = turns
        self.last_active = self.loop.time()

    # --- connections ---

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: Any) -> None:
        """Begin to read; where there are too many connections, close idle ones or this one."""
        super().connection_made(transport)
        self.flow = PacedFlow(transport, self._turns)
        self.parser = RequestParser(self)
        self._start_head_timer()
        if len(self.connections) > self._limits.connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._stop_timer()
        self._stop_send_timer()
        super().connection_lost(exc)

    def _make_room(self) -> None:
        others = [
            one for one in self.connections if isinstance(one, Protocol) and one is not self and one.is_idle
        ]
        count = 1 + len(others) // EVICTED_SHARE
        for one in heapq.nsmallest(count, others, key=lambda one: one.last_active):
            one.transport.close()
        if not others:
            message = f"The server has {self._limits.connections} open connections; try again later."
            self._refuse(Unavailable(message, headers={"Retry-After": "1"}))

    # --- requests ---

    def data_received(self, data: bytes) -> None:
        """Parse what has come, within the bounds."""
        self.last_active = self.loop.time()
        self._read = len(data)
        super().data_received(data)
        if self._in_request:
            self._bound(data)
        elif self._is_websocket:
            return
        elif self._timer is None and self.is_idle and self.timeout_keep_alive_task is None:
            self._start_head_timer()  # line ends between requests, of which the parser says nothing

    def _bound(self, data: bytes) -> None:
        """Refuse a head or trailers without end, and time what is to come."""
        if self._head is not None:
            self._head += data
            self._start_head_timer()
            if len(self._head) > MAX_HEAD:
                self._refuse_head(bytes(self._head).split(b"\n"))
            return
        size = len(data)
        self._overhead = 0 if self._got_body else self._overhead + size
        self._got_body = False
        self._progress += size
        if self._timer is None:
            self._start_body_progress_timer()
        if self._overhead > MAX_HEAD:
            self._refuse_size("The trailers of the request's body take", "")

    def on_message_begin(self) -> None:
        """Begin to count the head's bytes."""
        super().on_message_begin()
        self._head = bytearray()
        self._in_request = True

    def on_headers_complete(self) -> None:
        """Begin the request, whose response will go through a cork."""
        came, self._head = len(self._head or b"") + self._read, None
        if came > MAX_HEAD:
            self._check_whole_head()
        self._body_began = self.loop.time()
        self._stop_timer()
        self._is_upgrade = self.parser.should_upgrade()
        if self._is_upgrade:
            return
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self.cycle.transport = cast(Transport, Cork(self.transport, self.loop))
        # Trailers are reported like headers: keep them out of the request's.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Give a piece of the body to the request."""
        self._got_body = True
        super().on_body(body)
        if self.cycle.response_complete:  # the rest is of no use; reading it must not hold up other requests
            self.flow.pause_reading()
            self.flow.resume_reading()

    def on_message_complete(self) -> None:
        """End the request, unless it will be read again without its upgrade."""
        self._in_request = False
        self._overhead = 0
        self._stop_timer()
        if not self._is_upgrade:
            super().on_message_complete()

    def on_upgrade(self, rest: bytes) -> None:
        """Open the WebSocket that a request asks for, or serve the request.

        `rest` is what follows its head.
        """
        self._is_upgrade = False
        if self.parser.get_method() == b"CONNECT":
            self.send_400_response("This server is no proxy.")
        elif self._opens_websocket():
            self._open_websocket(rest)
        else:
            self._ignore_upgrade(rest)

    def _opens_websocket(self) -> bool:
        headers = dict(self.headers)
        return (
            headers.get(b"upgrade", b"").lower() == b"websocket"
            and b"sec-websocket-key" in headers
            and self.parser.get_method() == b"GET"
            and self.parser.get_http_version() == "1.1"
            and self.is_idle
        )

    def _open_websocket(self, rest: bytes) -> None:
        self._is_websocket = True
        self._stop_send_timer()
        self.connections.discard(self)
        protocol = cast(Any, self.ws_protocol_class)(self.config, self.server_state, self.app_state)
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        protocol.begin(self.url, self.headers, rest)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read a request again without its Upgrade header."""
        method, url = self.parser.get_method(), self.url
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (method, url, version)]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [one.strip() for one in value.split(b",")]
                value = b", ".join(one for one in tokens if one.lower() not in UPGRADE_TOKENS)  # noqa: PLW2901
            if name not in UPGRADE_TOKENS and value:
                lines.append(name + b": " + value)
        self.parser = RequestParser(self)
        self.parser.feed_data(b"\r\n".join((*lines, b"", rest)))

    # --- time ---

    def _start_head_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self._limits.head_seconds, self._on_head_timeout)

    def _start_body_progress_timer(self) -> None:
        """Start the interval in which at least `BODY_PROGRESS` bytes must arrive."""
        self._progress = 0
        self._was_paused = self.flow.read_paused
        self._timer = self.loop.call_later(self._limits.body_seconds, self._on_body_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_head_timeout(self) -> None:
        self._timer = None
        if self.flow.read_paused:  # a pipelined request waits for its turn
            self._start_head_timer()
        elif self._in_request and self.is_idle:
            self._refuse(timeout_error("The request's head", self._limits.head_seconds))
        else:
            self.transport.close()

    def _on_body_timeout(self) -> None:
        self._timer = None
        if self.is_idle:  # answered already: the rest of the body is of no use
            self.transport.close()
        elif self.loop.time() - self._body_began >= self._limits.whole_body_seconds:
            self._refuse(timeout_error("The request's body", self._limits.whole_body_seconds))
        elif self.flow.read_paused or self._was_paused or self._progress >= BODY_PROGRESS:
            self._start_body_progress_timer()
        else:
            expected = f"{BODY_PROGRESS} more bytes of the request's body"
            self._refuse(timeout_error(expected, self._limits.body_seconds))

    # --- refusals ---

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(BadRequest(msg))

    def _check_whole_head(self) -> None:
        lines = [self.url, *map(b":".join, self.headers)]
        if sum(map(len, lines)) > MAX_HEAD:
            self._refuse_head(lines)
            raise HeadTooLarge

    def _refuse_head(self, lines: Sequence[bytes]) -> None:
        self._refuse_size("The request's line and headers take", f" {largest_part(lines)}")

    def _refuse_size(self, what: str, hint: str) -> None:
        message = f"{what} more than {MAX_HEAD} bytes.{hint}"
        self._refuse(ApiError(message, status=431, type="invalid_request_error"))

    def _refuse(self, error: ApiError) -> None:
        """Respond ahead of the application, unless it has begun to, and close the connection."""
        if self.transport.is_closing():
            return
        if self.is_idle or not self.cycle.response_started:
            self.transport.write(last_response(error))
        self.transport.close()


def last_response(error: ApiError) -> bytes:
    """Return an error as the bytes of the last response on a connection."""
    response = error_response(error)
    status = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}".encode()
    head = [status, b"connection: close", *(b": ".join(header) for header in response.headers)]
    return b"\r\n".join((*head, b"", cast(bytes, response.body)))


def timeout_error(what: str, seconds: float) -> ApiError:
    """Return the error of something that did not arrive in time."""
    message = f"{what} did not arrive within {seconds:g} s."
    return ApiError(message, status=408, type="invalid_request_error", code="request_timeout")
