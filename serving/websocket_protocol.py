"""The protocol of a WebSocket's connection: uvicorn's, with bounds on time and size, and cheap when idle."""

import logging
from asyncio import TimerHandle
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import unquote

from httptools import parse_url
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import ExtensionParameter

from handlers.errors import ApiError, BadRequest
from serving.limits import too_large
from serving.protocol import BODY_PROGRESS, BoundedWriting, ConnectionLimits, last_response, timeout_error
from serving.websocket_events import error_text

HANDSHAKE = frozenset(
    {b"upgrade", b"connection", b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions"}
)
"""Headers that the handshake consists of. The others are the application's."""

PIECE = 16 * 1024
"""Bytes that are parsed at once: they may hold many compressed messages, each a thousand times as large."""

COMPRESSED = 4 * 1024
"""Bytes from which a message is compressed. Most events are shorter."""

CLOSE_SECONDS = 2.0
"""Seconds in which a client must answer the close frame; meanwhile what it sends is dropped."""

logger = logging.getLogger("astrolabe.websocket")
logger.setLevel(logging.WARNING)  # the libraries log each connection, with its query
logger.addFilter(lambda record: not _is_invalid_text(record))


def _is_invalid_text(record: logging.LogRecord) -> bool:
    """Return whether a log record is about a client's text that is not UTF-8: nothing to act on."""
    return record.exc_info is not None and isinstance(record.exc_info[1], UnicodeDecodeError)


class Deflate(PerMessageDeflate):
    """Compression of large messages only, without memory between two messages."""

    def encode(self, frame: Frame) -> Frame:
        """Return a frame as it is sent."""
        return frame if len(frame.data) < COMPRESSED else super().encode(frame)


class DeflateFactory(ServerPerMessageDeflateFactory):
    """Agrees on compression: a context kept between messages takes over 100 kB of each connection."""

    def __init__(self) -> None:
        super().__init__(
            server_no_context_takeover=True, client_no_context_takeover=True, compress_settings={"level": 1}
        )

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], Deflate]:
        """Return the parameters of the response, and the extension."""
        answer, agreed = super().process_request_params(params, accepted_extensions)
        return answer, Deflate(
            agreed.remote_no_context_takeover,
            agreed.local_no_context_takeover,
            agreed.remote_max_window_bits,
            agreed.local_max_window_bits,
            agreed.compress_settings,
        )


class WebSocketProtocol(BoundedWriting, WebSocketsSansIOProtocol):
    """A WebSocket's connection.

    The application gets one message at a time: while it does not ask for the next, nothing is read.
    """

    _timer: TimerHandle | None = None
    """Runs while a message has begun to arrive and has not arrived whole."""

    _progress = 0
    """Bytes since the timer was started."""

    _began = 0.0
    """When the message began to arrive, on the loop's clock."""

    _is_over = False
    """Whether the connection is over, or this side has ended it, so that nothing more is parsed."""

    def __init__(self, *args: Any, limits: ConnectionLimits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self.logger = logger
        self.close_timeout = CLOSE_SECONDS
        # Pings keep proxies from closing a silent connection. A client that runs its tools between two
        # responses may not read them for minutes, so no answer is asked for.
        self.ping_interval, self.ping_timeout = limits.ping_seconds, None
        self.conn = ServerProtocol(
            extensions=[DeflateFactory()], max_size=limits.message_bytes, logger=logger
        )
        self._unread = bytearray()
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []

    # --- the handshake ---

    def begin(self, url: bytes, headers: list[tuple[bytes, bytes]], rest: bytes) -> None:
        """Read the handshake, whose head was parsed already; `rest` is what follows it."""
        self._url, self._headers = url, headers
        self._unread += rest
        self.transport.pause_reading()
        lines = [name + b": " + value for name, value in headers if name in HANDSHAKE]
        # The library's own limits on heads are lower than ours, so it gets no more than it needs.
        super().data_received(b"\r\n".join((b"GET / HTTP/1.1", *lines, b"", b"")))
        if not self.handshake_initiated and not self.transport.is_closing():
            self._refuse_handshake(self.conn.handshake_exc)

    def handle_connect(self, event: Request) -> None:
        """Start the application, which accepts the handshake or refuses it."""
        if self.conn.accept(event).status_code != 101:
            self._refuse_handshake(self.conn.handshake_exc)
            return
        super().handle_connect(event)
        url = parse_url(self._url)
        self.scope["path"] = self.root_path + unquote(url.path.decode("ascii"))
        self.scope["raw_path"] = self.root_path.encode("ascii") + url.path
        self.scope["query_string"] = url.query or b""
        self.scope["headers"] = self._headers

    def _refuse_handshake(self, reason: Exception | None) -> None:
        headers = {"Sec-WebSocket-Version": "13"}
        error = BadRequest(f"The WebSocket handshake is not valid: {reason}.", headers=headers)
        self.handshake_initiated = self.handshake_complete = self.close_sent = True
        self.transport.write(last_response(error))
        self.transport.close()

    # --- reading ---

    def data_received(self, data: bytes) -> None:
        """Parse what has come, as far as the application has asked for messages."""
        if self._is_over:
            return
        self._unread += data
        if not self.writable.is_set():
            self.transport.pause_reading()
        self._parse()

    def _parse(self) -> None:
        while self._unread and self._is_parsing:
            piece = bytes(self._unread[:PIECE])
            del self._unread[:PIECE]
            super().data_received(piece)
            self._progress += len(piece)
        self._time_message()

    @property
    def _is_parsing(self) -> bool:
        is_open = self.handshake_complete and not self._is_over
        return is_open and not self.read_paused and self.writable.is_set()

    def handle_ping(self) -> None:
        """Answer a ping, unless what came with it has ended the connection."""
        if not self._is_over:
            super().handle_ping()

    async def receive(self) -> Any:
        """Return the next message."""
        message = await super().receive()
        if self._is_parsing:
            self._parse()
        return message

    async def send(self, message: Any) -> None:
        """Send a message of the application."""
        if self.close_sent:
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # uvicorn would log a refusal as an error of the application
        if message["type"] == "websocket.accept" and not self.transport.is_closing():
            # Nothing reads them after the handshake; they take 4 kB of each connection.
            self.request = self.response = cast(Any, None)
            self.transport.resume_reading()
            self._parse()

    def pause_writing(self) -> None:
        """Read nothing from a client that does not read: answers to its pings would pile up."""
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on reading, unless the application has a message to take."""
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()
            self._parse()

    # --- time ---

    def _time_message(self) -> None:
        """Time a message of which only a part has come."""
        is_partial = bool(self.conn.reader.buffer) or self.conn.current_size is not None
        if self._is_over or self.read_paused or not is_partial:
            self._stop_timer()
        elif self._timer is None:
            self._began = self.loop.time()
            self._start_timer()

    def _start_timer(self) -> None:
        self._progress = 0
        self._timer = self.loop.call_later(self._limits.body_seconds, self._on_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        limits = self._limits
        self._timer = None
        if self.transport.is_closing():
            return
        if self.loop.time() - self._began >= limits.whole_body_seconds:
            self._fail(timeout_error("The message", limits.whole_body_seconds), CloseCode.POLICY_VIOLATION)
        elif self._progress >= BODY_PROGRESS or not self.writable.is_set():
            self._start_timer()
        else:
            expected = f"{BODY_PROGRESS} more bytes of the message"
            self._fail(timeout_error(expected, limits.body_seconds), CloseCode.POLICY_VIOLATION)

    # --- the end ---

    def handle_parser_exception(self) -> None:
        """End the connection of a client that breaks the protocol or sends a message over the limit."""
        closed = self.conn.close_sent
        if closed is not None and closed.code == CloseCode.MESSAGE_TOO_BIG:
            # The close frame waits to be sent, and no message may follow it.
            text = error_text(too_large(self._limits.message_bytes, "message"))
            self.transport.write(Frame(Opcode.TEXT, text.encode()).serialize(mask=False))
        self._end(closed.code if closed is not None else CloseCode.ABNORMAL_CLOSURE)

    def _fail(self, error: ApiError, code: int) -> None:
        """Send the error and end the connection."""
        self.conn.send_text(error_text(error).encode())
        self.conn.fail(code)
        self._end(code)

    def _end(self, code: int) -> None:
        """Send what is left, and drop what the client still sends: closed at once, it could not read that."""
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": ""})
        self._is_over = self.close_sent = True
        self._unread.clear()
        self._stop_timer()
        if not self.transport.is_closing():
            self.transport.resume_reading()
            self.transport.write_eof()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)

    def shutdown(self) -> None:
        """Leave the connection to the application, which closes it when its responses have ended."""
        if self.close_sent:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers, and parse nothing more of what the application has not taken."""
        self._is_over = True
        self.read_paused = False  # a closed transport cannot be resumed
        self._unread.clear()
        self._stop_timer()
        self._stop_send_timer()
        super().connection_lost(exc)
