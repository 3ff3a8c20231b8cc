"""The driver for providers that speak OpenAI's API."""

from collections.abc import AsyncIterable
from functools import lru_cache
from typing import TYPE_CHECKING

import yarl

from inference.gateway.driver import ProviderRequest, ProviderResponse
from inference.gateway.http.forms import Form
from inference.gateway.http.http_client import HttpClient, Timeouts
from inference.gateway.http.proxies import proxied_client, proxy_of
from inference.gateway.routing.targets import Target
from persistence import large_json

if TYPE_CHECKING:
    from inference.gateway.http.proxied_client import ProxiedClient

LOCAL_HOST = "local"
"""The host name of the local models, which listen on Unix sockets."""


class OpenAIDriver:
    """Sends requests to their target's base URL, through the environment's proxy if there is one."""

    def __init__(self, client: HttpClient | None = None) -> None:
        self._client = client or HttpClient()
        self._proxied: ProxiedClient | None = None

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()
        if self._proxied is not None:
            await self._proxied.close()

    async def send(self, target: Target, request: ProviderRequest) -> ProviderResponse:
        """Return the response, whatever its status."""
        url = url_of(target.base_url, request.path)
        headers, body = await encoded(target, request)
        timeouts = Timeouts(target.connect_timeout, target.read_timeout)
        proxy = proxy_of(url.origin()) if url.host != LOCAL_HOST else None
        if proxy is None:
            return await self._client.send(request.method, url, headers, body, timeouts, target.address)
        if self._proxied is None:
            self._proxied = proxied_client()
        return await self._proxied.send(request.method, url, headers, body, timeouts, proxy)


async def encoded(
    target: Target, request: ProviderRequest
) -> tuple[dict[str, str], bytes | AsyncIterable[bytes] | None]:
    """Return the headers and the body of a request to send."""
    body = request.body
    headers = {**dict(target.headers), **request.headers}
    if target.api_key and "authorization" not in map(str.lower, headers):
        headers["authorization"] = f"Bearer {target.api_key}"
    if isinstance(body, dict):
        headers.setdefault("content-type", "application/json")
        body = await large_json.dumps(body)
    elif isinstance(body, Form):
        headers |= body.headers
    return headers, body


@lru_cache(maxsize=1024)
def url_of(base: str, path: str) -> yarl.URL:
    """Return the URL of a path below a base URL; a query of the base URL goes after the path."""
    front, question, query = base.partition("?")
    joint = "&" if question and "?" in path else question
    return yarl.URL(f"{front.rstrip('/')}{path}{joint}{query}")
