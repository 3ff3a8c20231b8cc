"""HTTP to MCP servers: each request goes to an address that was checked, and no answer is too long."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import yarl

from inference.engine.errors import ToolRefused
from inference.errors import ProviderError, ProviderRejected
from inference.gateway.driver import ProviderResponse
from inference.gateway.http.hosts import HostGuard
from inference.gateway.http.http_client import Timeouts
from inference.gateway.http.web_client import WebClient
from inference.mcp.servers import checked_url, forbidden

CONNECT_SECONDS = 5.0
READ_SECONDS = 600.0
"""How long an answer may be silent; each request has a shorter limit of its own."""

MAX_BYTES = 4 * 1024 * 1024
"""Bytes of one answer, and of what a stream brings while one request is open: it is parsed in one piece."""

_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})
"""Headers that the connection sets itself."""

ERRORS = range(400, 600)


class Broken(Exception):
    """A connection that cannot be used further; the message says why."""


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends the requests of one session.

    `broken` is set to the message that says why the session cannot go on. `status` is the status of the last
    answer to a message, 0 before the first one. With `needs_posts` an error in an answer to a message breaks
    the session: in the older protocol the answers do not come on the connection that was asked.
    """

    def __init__(self, guard: HostGuard | None, *, needs_posts: bool = False) -> None:
        self.broken: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.status = 0
        self._guard = guard
        self._needs_posts = needs_posts
        self._client = WebClient()
        self._room = MAX_BYTES

    def begin(self) -> None:
        """Begin a request: what its answers may bring is counted anew."""
        self._room = MAX_BYTES

    def take(self, size: int) -> None:
        """Count bytes of an answer; Broken if they are too many."""
        self._room -= size
        if self._room < 0:
            raise self.fail(f"The server's answer is longer than {MAX_BYTES} bytes.")

    def fail(self, message: str) -> Broken:
        """Note that the session cannot go on, and return the error that says so."""
        if not self.broken.done():
            self.broken.set_result(message)
        return Broken(message)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and return its answer when the headers have arrived."""
        is_message = request.method == "POST"
        body = await request.aread()
        try:
            response = await self._send(request, body)
        except ToolRefused as exc:
            raise self.fail(exc.message) from exc
        except ProviderError as exc:
            if is_message and self._needs_posts:
                self.fail(worded(exc))
            raise
        if is_message:
            self.status = response.status
            if self._needs_posts and response.status in ERRORS:
                self.fail(f"The server answered with status {response.status}.")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            raise self.fail("The server sends its answer compressed, which was not asked for.")
        headers = [(name, value) for name, value in response.headers.items() if name not in _OWN_HEADERS]
        return httpx2.Response(response.status, headers=headers, stream=_Stream(self, response))

    async def _send(self, request: httpx2.Request, body: bytes) -> ProviderResponse:
        url = yarl.URL(str(request.url), encoded=True)
        headers = {name: value for name, value in request.headers.items() if name not in _OWN_HEADERS}
        headers["accept-encoding"] = "identity"
        timeouts = Timeouts(CONNECT_SECONDS, READ_SECONDS)
        if self._guard is not None:
            checked_url(str(url), self._guard)
        content = body if request.method in ("POST", "PUT", "PATCH") else None
        try:
            return await self._client.send(request.method, url, headers, content, timeouts, self._guard)
        except ProviderRejected as exc:
            raise forbidden(url.host or "") from exc

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()


class _Stream(httpx2.AsyncByteStream):
    """The body of an answer, counted."""

    def __init__(self, transport: GuardedTransport, response: ProviderResponse) -> None:
        self._transport = transport
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._response:
            self._transport.take(len(piece))
            yield piece

    async def aclose(self) -> None:
        await self._response.aclose()


def worded(exc: ProviderError) -> str:
    """Return the message of an error in words about an MCP server."""
    return exc.message.replace("The provider", "The server")
