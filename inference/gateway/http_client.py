"""A lean HTTP/1.1 client on asyncio and httptools, with pooled connections."""

import asyncio
import ssl
import zlib
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, cast

import httptools
import yarl

from inference.errors import ProviderError
from inference.gateway import failures
from inference.gateway.driver import LARGEST_ANSWER, ConnectionLost, ProviderResponse

IDLE = 30.0
"""Seconds that an unused connection is kept."""

LOOKED_AT = 1.0
"""Seconds of idleness after which a connection is first looked at for a close."""

BUFFERED = 256 * 1024
"""Bytes of a body that wait for their reader before the socket is read no further."""

DRAIN = 0.2
"""Seconds that the end of a body may take behind its content."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to connect, and of silence while a response is read."""

    connect: float
    read: float


class Origin(NamedTuple):
    """Where connections go; those of one origin are shared."""

    host: str
    port: int
    is_tls: bool


@cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class HttpClient:
    """Sends requests, each over a connection of its own while it lasts.

    No request is ever sent twice: a pooled connection that closed before the request was written is
    replaced, one that closes later fails the request. With `socket`, the path of a Unix socket,
    every connection goes there.
    """

    def __init__(self, socket: str | None = None) -> None:
        self._socket = socket
        self._idle: dict[Origin, deque[Connection]] = {}

    async def close(self) -> None:
        """Close the idle connections."""
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()

    async def send(
        self,
        method: str,
        url: yarl.URL,
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes] | None,
        timeouts: Timeouts,
    ) -> ProviderResponse:
        """Return the response once its headers have come."""
        origin = Origin(url.host or "", url.port or 80, url.scheme == "https")
        chunked = body is not None and not isinstance(body, bytes)
        head = _head(
            method,
            url,
            headers,
            None if chunked else len(cast(bytes, body or b"")),
            has_body=body is not None,
        )
        connection = await self._pooled(origin)
        if connection is None:
            connection = await self._connect(origin, timeouts.connect)
        return await self._exchange(connection, origin, head, body, timeouts)

    async def _exchange(
        self,
        connection: "Connection",
        origin: Origin,
        head: bytes,
        body: bytes | AsyncIterable[bytes] | None,
        timeouts: Timeouts,
    ) -> "Response":
        try:
            connection.begin(timeouts.read)
            if body is None or isinstance(body, bytes):
                connection.write(head + body if body else head)
            else:
                connection.write(head)
                async for piece in body:
                    connection.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    await connection.writable.wait()
                connection.write(b"0\r\n\r\n")
            await connection.wait_for_headers()
        except BaseException:
            connection.abort()
            raise
        return Response(self, origin, connection)

    async def _pooled(self, origin: Origin) -> "Connection | None":
        connections = self._idle.get(origin)
        while connections:
            connection = connections.pop()
            if asyncio.get_running_loop().time() - connection.idle_since > LOOKED_AT:
                await asyncio.sleep(0)  # so that a close which has arrived is seen
            if connection.is_usable():
                return connection
            connection.abort()
        return None

    def give_back(self, origin: Origin, connection: "Connection") -> None:
        """Keep a connection for the next request, and close those that nobody used for long."""
        connections = self._idle.setdefault(origin, deque())
        connection.idle_since = asyncio.get_running_loop().time()
        connections.append(connection)
        while connections and not connections[0].is_usable():
            connections.popleft().abort()

    async def _connect(self, origin: Origin, seconds: float) -> "Connection":
        loop = asyncio.get_running_loop()
        connection = Connection(loop)
        try:
            async with asyncio.timeout(seconds):
                if self._socket is not None:
                    await loop.create_unix_connection(lambda: connection, self._socket)
                    return connection
                await loop.create_connection(
                    lambda: connection,
                    origin.host,
                    origin.port,
                    ssl=_tls() if origin.is_tls else None,
                    server_hostname=origin.host if origin.is_tls else None,
                )
        except TimeoutError as exc:
            raise failures.unreachable("the connection timed out") from exc
        except ssl.SSLCertVerificationError as exc:
            raise failures.unreachable(f"its certificate is not valid: {exc.verify_message}") from exc
        except ssl.SSLError as exc:
            raise failures.unreachable(f"TLS failed: {exc.reason}") from exc
        except OSError as exc:
            raise failures.unreachable(exc.strerror or "the connection was refused") from exc
        return connection


def _head(
    method: str, url: yarl.URL, headers: Mapping[str, str], length: int | None, *, has_body: bool
) -> bytes:
    lines = [f"{method} {url.raw_path_qs} HTTP/1.1\r\nhost: {_host(url)}\r\n"]
    for name, value in headers.items():
        if "\n" in value or "\r" in value or "\n" in name or "\r" in name or ":" in name:
            raise failures.unreachable(f"the header {name!r} cannot be sent")
        lines.append(f"{name}: {value}\r\n")
    if length is None:
        lines.append("transfer-encoding: chunked\r\n")
    elif has_body:
        lines.append(f"content-length: {length}\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("utf-8")


def _host(url: yarl.URL) -> str:
    host = url.raw_host or ""
    host = f"[{host}]" if ":" in host else host
    return host if url.is_default_port() else f"{host}:{url.port}"


class Connection(asyncio.Protocol):
    """One connection; its requests follow each other."""

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
        """Parse what has come."""
        if not self._is_busy:
            self.abort()  # nothing was asked: the next response would be the wrong one
            return
        self._has_bytes = True
        self._heard_at = self._loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(failures.unreadable("it wants another protocol"))
        except httptools.HttpParserError:
            self._fail(failures.unreadable("it is not HTTP"))
        self._wake()

    def connection_lost(self, _: Exception | None) -> None:
        """Wake the reader: nothing more will come."""
        self.is_closed = True
        self.writable.set()
        if self._is_busy and not self.is_whole and self._has_headers and not self._is_framed():
            self.is_whole = True  # the end of the connection is the end of the body
        self._wake()

    def pause_writing(self) -> None:
        """Hold the writer back."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """Let the writer go on."""
        self.writable.set()

    # --- httptools ---

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        """Note the status."""
        self.status = self._parser.get_status_code()
        if self.status < 200:  # 100 and 103 come ahead of the response
            self.headers = {}
            return
        self._has_headers = True
        self._keeps_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body; stop reading where the reader is far behind."""
        self._pieces.append(body)
        self._size += len(body)
        if self._size > BUFFERED and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Note that the body is whole."""
        if self._has_headers:
            self.is_whole = True

    # --- one exchange ---

    def begin(self, read_timeout: float) -> None:
        """Get ready for a response."""
        self._reset()
        self._is_busy = True
        self._parser = httptools.HttpResponseParser(self)
        self._read_timeout = read_timeout
        self._heard_at = self._loop.time()

    def write(self, data: bytes) -> None:
        """Send a part of the request."""
        if self.is_closed or self._transport is None:
            raise failures.unreachable("it closed the connection")
        self._transport.write(data)

    async def wait_for_headers(self) -> None:
        """Wait until the head of the response has come."""
        while not self._has_headers:
            self._check()
            await self._wait()

    async def read_piece(self) -> bytes:
        """Return what has come of the body, b"" at its end."""
        while not self._pieces:
            if self.is_whole:
                return b""
            self._check()
            await self._wait()
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
        return self._loop.time() - self.idle_since < IDLE

    def end(self) -> bool:
        """End the exchange; return whether the connection may be used again."""
        self._is_busy = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self.is_whole and self._keeps_alive and not self.is_closed and not self._is_paused

    def abort(self) -> None:
        """Close the connection at once."""
        self.end()
        self.is_closed = True
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

    async def _wait(self) -> None:
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
        """Fail after a silence; else wait for the rest of it: one timer serves the whole response."""
        left = self._heard_at + self._read_timeout - self._loop.time()
        if self._waiter is None:  # nobody waits: the silence is ours
            self._timer = None
        elif left > 0:
            self._timer = self._loop.call_later(left, self._on_timer)
        else:
            self._timer = None
            self._fail(failures.timed_out(self._read_timeout))
            self._wake()


class Response(ProviderResponse):
    """A response of the lean client."""

    def __init__(self, client: HttpClient, origin: Origin, connection: Connection) -> None:
        self.status = connection.status
        self.headers = connection.headers
        self._client = client
        self._origin = origin
        self._connection: Connection | None = connection

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the body as it arrives, decompressed where a provider compresses unasked."""
        decoder = zlib.decompressobj(wbits=47) if self._is_compressed() else None
        while self._connection is not None:
            piece = await self._connection.read_piece()
            if not piece:
                return
            try:
                yield decoder.decompress(piece) if decoder else piece
            except zlib.error as exc:
                raise failures.unreadable("its compression is broken") from exc

    def _is_compressed(self) -> bool:
        return self.headers.get("content-encoding", "").lower() in ("gzip", "x-gzip", "deflate")

    async def read(self, most: int = LARGEST_ANSWER) -> bytes:
        """Return the body; most are there already."""
        connection = self._connection
        if connection is not None and connection.is_whole and not self._is_compressed():
            return await connection.read_piece()
        return await super().read(most)

    async def drain(self) -> None:
        """Wait shortly for the end of the body."""
        connection = self._connection
        if connection is not None and not connection.is_whole:
            with suppress(TimeoutError, ProviderError):
                async with asyncio.timeout(DRAIN):
                    await connection.read_piece()

    async def aclose(self) -> None:
        """Give the connection back where the body is whole, else close it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.end():
            self._client.give_back(self._origin, connection)
        else:
            connection.abort()
