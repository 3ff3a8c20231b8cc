"""One HTTP/1.1 connection to a provider, parsed by httptools."""

import asyncio
from typing import cast

import httptools

from inference.errors import ProviderError
from inference.gateway import failures
from inference.gateway.driver import ConnectionLost

IDLE_TIMEOUT = 30.0
"""Seconds that an unused connection is kept."""

BUFFER_LIMIT = 256 * 1024
"""Bytes of a body that wait for their reader before the socket is paused."""


class Connection(asyncio.Protocol):
    """One connection, for one request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.writable = asyncio.Event()
        self.writable.set()
        self.is_closed = False
        self.idle_since = 0.0
        self._is_busy = False
        self._reset()

    def _reset(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._error: ProviderError | None = None
        self._has_bytes = False
        self._has_headers = False
        self._is_paused = False
        self.is_whole = False
        self._keeps_alive = False
        self.headers: dict[str, str] = {}
        self.status = 0

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse a piece of the response."""
        if not self._is_busy:
            self.abort()  # without a request these bytes would be taken for the next response
            return
        self._has_bytes = True
        self._last_read_at = self._loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(failures.unreadable("it wants another protocol"))
        except httptools.HttpParserError:
            self._fail(failures.unreadable("it is not HTTP"))
        self._wake()

    def connection_lost(self, _: Exception | None) -> None:
        """Wake the reader, for whom nothing more will arrive."""
        self.is_closed = True
        self.writable.set()
        if self._is_busy and not self.is_whole and self._has_headers and not self._is_framed():
            self.is_whole = True  # the end of the connection is the end of the body
        self._wake()

    def pause_writing(self) -> None:
        """Pause the writer."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """Resume the writer."""
        self.writable.set()

    # --- httptools ---

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        """Note the status."""
        self.status = self._parser.get_status_code()
        if self.status < 200:  # 100 and 103 come before the response
            self.headers = {}
            return
        self._has_headers = True
        self._keeps_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body; pause the socket if the reader is far behind."""
        self._pieces.append(body)
        self._size += len(body)
        if self._size > BUFFER_LIMIT and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Note the end of the body."""
        if self._has_headers:
            self.is_whole = True

    # --- one exchange ---

    def begin(self, read_timeout: float) -> None:
        """Start a request."""
        self._reset()
        self._is_busy = True
        self._parser = httptools.HttpResponseParser(self)
        self._read_timeout = read_timeout
        self._last_read_at = self._loop.time()

    def write(self, data: bytes) -> None:
        """Send a part of the request."""
        if self.is_closed or self._transport is None:
            raise failures.unreachable("it closed the connection")
        self._transport.write(data)

    def stop_upload(self) -> bool:
        """Return whether the response has begun; a body that is not sent whole then ends the connection."""
        if self._has_headers:
            self._keeps_alive = False
        return self._has_headers

    def end_upload(self, data: bytes) -> None:
        """Send the last part of a body; the time that it took does not count as the provider's silence."""
        if data:
            self.write(data)
        self._last_read_at = self._loop.time()

    async def wait_for_headers(self) -> None:
        """Wait for the head of the response."""
        while not self._has_headers:
            self._check()
            await self._wait_for_data()

    async def read_piece(self) -> bytes:
        """Return the next bytes of the body, b"" at its end."""
        while not self._pieces:
            if self.is_whole:
                return b""
            self._check()
            await self._wait_for_data()
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces = []
        self._size = 0
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return body

    def is_usable(self) -> bool:
        """Return whether an idle connection may be used again."""
        if self.is_closed or self._transport is None or self._transport.is_closing():
            return False
        return self._loop.time() - self.idle_since < IDLE_TIMEOUT

    def end(self) -> bool:
        """End the request; return whether the connection may be used again."""
        self._is_busy = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self.is_whole and self._keeps_alive and not self.is_closed and not self._is_paused

    def abort(self) -> None:
        """Close the connection at once."""
        self.end()
        self.is_closed = True
        self._pieces.clear()
        if self._transport is not None:
            self._transport.abort()

    def _is_framed(self) -> bool:
        return "content-length" in self.headers or "chunked" in self.headers.get("transfer-encoding", "")

    def _fail(self, error: ProviderError) -> None:
        self._error = error

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        if self.is_closed:
            if not self._has_bytes:
                raise failures.unreachable("it closed the connection")
            raise ConnectionLost(failures.cut_off().message, status=502)

    async def _wait_for_data(self) -> None:
        """Wait until data arrives or the connection closes, within the read timeout."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._read_timeout, self._on_timer)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _on_timer(self) -> None:
        """Fail if nothing arrived for too long, else wait for the rest: one timer per response."""
        left = self._last_read_at + self._read_timeout - self._loop.time()
        if self._waiter is None:  # nobody waits for bytes
            self._timer = None
        elif left > 0:
            self._timer = self._loop.call_later(left, self._on_timer)
        else:
            self._timer = None
            self._fail(failures.timed_out(self._read_timeout))
            self._wake()
