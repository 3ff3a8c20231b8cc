"""A small HTTP/1.1 client on asyncio and httptools, with pooled connections."""

import asyncio
import ssl
import zlib
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

import yarl

from inference.errors import ProviderError
from inference.gateway import failures
from inference.gateway.driver import LARGEST_ANSWER, ProviderResponse
from inference.gateway.http.connection import Connection
from inference.gateway.http.network_errors import CONNECTING, mapped

CHECK_AFTER = 1.0
"""Seconds of idleness after which a connection is checked for a close before it is used."""

DRAIN_TIMEOUT = 0.2
"""Seconds to wait for the end of a body after its content."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts in seconds: to connect, and for each read of a response."""

    connect: float
    read: float


class Origin(NamedTuple):
    """The server of a connection; connections to one origin are shared.

    `address` is what to connect to in place of the host's name, if that was resolved already.
    """

    host: str
    port: int
    is_tls: bool
    address: str = ""


@cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class HttpClient:
    """Sends requests over pooled connections.

    No request is sent twice: a pooled connection that closed before the request is replaced; one that
    closes later fails the request. With `socket`, the path of a Unix socket, every connection goes there.
    """

    def __init__(self, socket: str | None = None) -> None:
        self._socket = socket
        self._idle: dict[Origin, deque[Connection]] = {}
        self._is_closed = False

    async def close(self) -> None:
        """Close the idle connections, and the others when their responses end."""
        self._is_closed = True
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
        address: str = "",
    ) -> ProviderResponse:
        """Send a request and return the response when its headers have arrived."""
        origin = Origin(url.host or "", url.port or 80, url.scheme == "https", address)
        is_sized = "content-length" in headers
        head = _head_start(method, url, tuple(headers.items()))
        if body is None or is_sized:
            head += b"\r\n"
        elif isinstance(body, bytes):
            head += b"content-length: %d\r\n\r\n" % len(body)
        else:
            head += b"transfer-encoding: chunked\r\n\r\n"
        connection = await self._pooled(origin)
        if connection is None:
            connection = await self._connect(origin, timeouts.connect)
        return await self._exchange(connection, origin, head, body, timeouts, is_sized=is_sized)

    async def _exchange(
        self,
        connection: Connection,
        origin: Origin,
        head: bytes,
        body: bytes | AsyncIterable[bytes] | None,
        timeouts: Timeouts,
        *,
        is_sized: bool,
    ) -> "Response":
        try:
            connection.begin(timeouts.read)
            if body is None or isinstance(body, bytes):
                connection.write(head + body if body else head)
            else:
                connection.write(head)
                await _upload(connection, body, timeouts.read, is_sized=is_sized)
            await connection.wait_for_headers()
        except BaseException:
            connection.abort()
            raise
        return Response(self, origin, connection)

    async def _pooled(self, origin: Origin) -> Connection | None:
        connections = self._idle.get(origin)
        while connections:
            connection = connections.pop()
            if asyncio.get_running_loop().time() - connection.idle_since > CHECK_AFTER:
                await asyncio.sleep(0)  # lets the loop process a close that has arrived
            if connection.is_usable():
                return connection
            connection.abort()
        return None

    def release(self, origin: Origin, connection: Connection) -> None:
        """Keep a connection for later requests; close those that were idle for too long."""
        if self._is_closed:
            connection.abort()
            return
        connections = self._idle.setdefault(origin, deque())
        connection.idle_since = asyncio.get_running_loop().time()
        connections.append(connection)
        while connections and not connections[0].is_usable():
            connections.popleft().abort()

    async def _connect(self, origin: Origin, seconds: float) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(loop)
        with mapped(CONNECTING):
            async with asyncio.timeout(seconds):
                if self._socket is not None:
                    await loop.create_unix_connection(lambda: connection, self._socket)
                else:
                    await loop.create_connection(
                        lambda: connection,
                        origin.address or origin.host,
                        origin.port,
                        ssl=_tls() if origin.is_tls else None,
                        server_hostname=origin.host if origin.is_tls else None,
                    )
        return connection


async def _upload(
    connection: Connection, body: AsyncIterable[bytes], seconds: float, *, is_sized: bool
) -> None:
    """Send a body piece by piece, until the response begins: a provider may refuse it before its end."""
    async for piece in body:
        if connection.stop_upload():
            return
        if piece:
            connection.write(piece if is_sized else b"%x\r\n%b\r\n" % (len(piece), piece))
        if not connection.writable.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await connection.writable.wait()
            except TimeoutError as exc:
                raise failures.timed_out(seconds) from exc
    if not connection.stop_upload():
        connection.end_upload(b"" if is_sized else b"0\r\n\r\n")


@lru_cache(maxsize=256)
def _head_start(method: str, url: yarl.URL, headers: tuple[tuple[str, str], ...]) -> bytes:
    """Return the head but for its length; a target's requests have the same."""
    lines = [f"{method} {url.raw_path_qs} HTTP/1.1\r\nhost: {_host(url)}\r\n"]
    for name, value in headers:
        if "\n" in value or "\r" in value or "\n" in name or "\r" in name or ":" in name:
            raise failures.unreachable(f"the header {name!r} cannot be sent")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("utf-8")


def _host(url: yarl.URL) -> str:
    host = url.raw_host or ""
    host = f"[{host}]" if ":" in host else host
    return host if url.is_default_port() else f"{host}:{url.port}"


class Response(ProviderResponse):
    """A response of the small client."""

    def __init__(self, client: HttpClient, origin: Origin, connection: Connection) -> None:
        self.status = connection.status
        self.headers = connection.headers
        self._client = client
        self._origin = origin
        self._connection: Connection | None = connection

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the body as it arrives, decompressed if the provider compresses it unasked."""
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

    async def read(self, limit: int = LARGEST_ANSWER) -> bytes:
        """Return the body, which often has arrived already."""
        connection = self._connection
        if connection is not None and connection.is_whole and not self._is_compressed():
            return await connection.read_piece()
        return await super().read(limit)

    async def drain(self) -> None:
        """Wait briefly for the end of the body."""
        connection = self._connection
        if connection is not None and not connection.is_whole:
            with suppress(TimeoutError, ProviderError):
                async with asyncio.timeout(DRAIN_TIMEOUT):
                    await connection.read_piece()

    async def aclose(self) -> None:
        """Release the connection if the body was read to its end, else close it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.end():
            self._client.release(self._origin, connection)
        else:
            connection.abort()
