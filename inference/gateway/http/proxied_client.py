"""HTTP through a proxy, by aiohttp; requests without a proxy use the small HttpClient."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aiohttp
import yarl

from inference.gateway import failures
from inference.gateway.driver import ConnectionLost, ProviderResponse
from inference.gateway.http.http_client import DRAIN_TIMEOUT, Timeouts
from inference.gateway.http.network_errors import Table, certificate_error, host_error, mapped, system_error


def of_aiohttp(read_timeout: float) -> Table:
    """Return the table of aiohttp's errors, for a response that may be silent for `read_timeout` seconds."""
    return (
        (aiohttp.ConnectionTimeoutError, lambda _: failures.unreachable("the connection timed out")),
        (TimeoutError, lambda _: failures.timed_out(read_timeout)),
        (aiohttp.ClientConnectorCertificateError, lambda exc: certificate_error(exc.certificate_error)),
        (aiohttp.ClientConnectorError, lambda exc: system_error(exc.os_error)),
        (aiohttp.ServerDisconnectedError, lambda _: failures.unreachable("it closed the connection")),
        (aiohttp.ClientPayloadError, lambda _: ConnectionLost(failures.cut_off().message, status=502)),
        (aiohttp.ClientError, lambda exc: failures.unreachable(type(exc).__name__)),
        (OSError, system_error),
        (UnicodeError, host_error),
    )


class ProxiedClient:
    """Sends requests over one shared aiohttp session."""

    def __init__(self, connector: aiohttp.BaseConnector | None = None) -> None:
        self._session = aiohttp.ClientSession(
            connector=connector or aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
            read_bufsize=256 * 1024,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def send(
        self,
        method: str,
        url: yarl.URL,
        headers: dict[str, str],
        body: Any,
        timeouts: Timeouts,
        proxy: str | None = None,
    ) -> ProviderResponse:
        """Send a request and return the response when its headers have arrived."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect, sock_read=timeouts.read)
        with mapped(of_aiohttp(timeouts.read)):
            response = await self._session.request(
                method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False, proxy=proxy
            )
        return AiohttpResponse(response, timeouts.read)


class AiohttpResponse(ProviderResponse):
    """A response of aiohttp."""

    def __init__(self, response: aiohttp.ClientResponse, read_timeout: float) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self._response = response
        self._read_timeout = read_timeout

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the body as it arrives."""
        with mapped(of_aiohttp(self._read_timeout)):
            async for piece in self._response.content.iter_any():
                yield piece

    async def drain(self) -> None:
        """Wait briefly for the end of the body."""
        with suppress(TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(DRAIN_TIMEOUT):
                await self._response.content.readany()

    async def aclose(self) -> None:
        """Release the connection if the body was read to its end, else close it."""
        self._response.release() if self._response.content.is_eof() else self._response.close()
