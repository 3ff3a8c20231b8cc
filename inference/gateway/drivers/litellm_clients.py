"""litellm's HTTP clients, which must not follow redirects: they lead past the check of a caller's host."""

from typing import Any

import httpx
import litellm
from litellm.caching.llm_caching_handler import LLMClientCache
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler


async def refuse_redirect(response: httpx.Response) -> None:
    """Raise HTTPStatusError for a redirect, before the client follows it."""
    if response.is_redirect:
        raise httpx.HTTPStatusError("The provider redirects.", request=response.request, response=response)


HOOKS = {"response": [refuse_redirect]}

SDK_CLIENT = AsyncHTTPHandler(event_hooks=HOOKS)
"""Makes the one client of OpenAI's SDK, again after it was closed."""


class ClientCache(LLMClientCache):  # type: ignore[misc]
    """The cache into which litellm puts each client that it makes, ahead of its first request."""

    def set_cache(self, key: str, value: object, **options: Any) -> Any:
        """Keep a client, which refuses redirects from now on."""
        if isinstance(value, AsyncHTTPHandler):
            refuse_redirects(value)
        return super().set_cache(key, value, **options)


def refuse_redirects(handler: AsyncHTTPHandler) -> None:
    """Have a client refuse redirects, and those that it makes in its own stead."""
    handler.event_hooks = HOOKS
    handler.client.event_hooks = HOOKS


def install() -> None:
    """Have all clients of litellm's refuse redirects: those of its own and that of OpenAI's SDK."""
    if not isinstance(litellm.in_memory_llm_clients_cache, ClientCache):
        litellm.in_memory_llm_clients_cache = ClientCache()
        refuse_redirects(litellm.module_level_aclient)
    litellm.aclient_session = SDK_CLIENT.client


async def close() -> None:
    """Close all clients."""
    await litellm.close_litellm_async_clients()
    await SDK_CLIENT.close()
