"""Find the proxy for a URL: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY."""

from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.request import getproxies, proxy_bypass

import yarl

if TYPE_CHECKING:
    from inference.gateway.http.proxied_client import ProxiedClient


def proxied_client() -> "ProxiedClient":
    """Return a client for requests through proxies."""
    from inference.gateway.http.proxied_client import ProxiedClient  # noqa: PLC0415 - aiohttp takes 8 MB

    return ProxiedClient()


@lru_cache(maxsize=1024)
def proxy_of(url: yarl.URL) -> str | None:
    """Return the URL of the proxy for `url`, None for none. The environment is read once for each host."""
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or url.host is None or proxy_bypass(f"{url.host}:{url.port}"):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
