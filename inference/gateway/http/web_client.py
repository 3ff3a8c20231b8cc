"""Requests to servers that are no providers: directly, or through the proxy that the environment names."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import yarl

from inference.gateway.driver import ProviderResponse
from inference.gateway.http.hosts import HostGuard
from inference.gateway.http.http_client import HttpClient, Timeouts
from inference.gateway.http.proxies import proxied_client, proxy_of

if TYPE_CHECKING:
    from inference.gateway.http.proxied_client import ProxiedClient


class WebClient:
    """Sends requests over pooled connections; follows no redirects.

    With a guard, a connection goes to an address that the guard allows. A proxy resolves names itself.
    """

    def __init__(self) -> None:
        self._direct = HttpClient()
        self._proxied: ProxiedClient | None = None

    async def close(self) -> None:
        """Close every connection."""
        await self._direct.close()
        if self._proxied is not None:
            await self._proxied.close()

    async def send(
        self,
        method: str,
        url: yarl.URL,
        headers: Mapping[str, str],
        body: bytes | None,
        timeouts: Timeouts,
        guard: HostGuard | None = None,
    ) -> ProviderResponse:
        """Return the response when its headers have arrived; raises a ProviderError."""
        proxy = proxy_of(url.origin())
        if proxy is not None:
            if self._proxied is None:
                self._proxied = proxied_client()
            return await self._proxied.send(method, url, dict(headers), body, timeouts, proxy)
        address = "" if guard is None else await guard.address(str(url), timeouts.connect)
        return await self._direct.send(method, url, headers, body, timeouts, address)
