"""HTTP_PROXY, HTTPS_PROXY and NO_PROXY: every driver goes the way that they say."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import yarl

from inference.errors import ProviderBroken
from inference.gateway import Gateway, Routes
from inference.gateway.proxies import proxy_of
from tests.inference.gateway.conftest import KEY

ANSWER = b'{"choices": [{"message": {"role": "assistant", "content": "Through the proxy."}}]}'


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    proxy_of.cache_clear()
    yield monkeypatch
    proxy_of.cache_clear()


@pytest.fixture
async def proxy() -> AsyncIterator[tuple[str, list[str]]]:
    """A proxy that answers requests itself and refuses tunnels; with the first lines of all it got."""
    seen: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head.split(b"\r\n")[0].decode())
        status = b"502 Bad Gateway" if head.startswith(b"CONNECT") else b"200 OK"
        writer.write(
            b"HTTP/1.1 %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (status, len(ANSWER)) + ANSWER
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
    server.close()


async def asked(base_url: str, ask: Callable[..., Any]) -> str:
    routes = Routes.from_environment(KEY, base_url)
    gateway = Gateway(routes)
    await gateway.open()
    try:
        return str((await gateway.complete(ask(text="x")))["choices"][0]["message"]["content"])
    finally:
        await gateway.close()


async def test_a_provider_over_http_is_reached_through_the_proxy(
    environment: pytest.MonkeyPatch, proxy: tuple[str, list[str]], ask: Callable[..., Any]
) -> None:
    url, seen = proxy
    environment.setenv("HTTP_PROXY", url)
    environment.setenv("http_proxy", url)
    assert await asked("http://provider.example/v1", ask) == "Through the proxy."
    assert seen == ["POST http://provider.example/v1/chat/completions HTTP/1.1"]


async def test_a_provider_over_https_is_reached_through_a_tunnel(
    environment: pytest.MonkeyPatch, proxy: tuple[str, list[str]], ask: Callable[..., Any]
) -> None:
    url, seen = proxy
    environment.setenv("https_proxy", url)
    with pytest.raises(ProviderBroken, match="cannot be reached"):
        await asked("https://provider.example/v1", ask)
    assert seen[0] == "CONNECT provider.example:443 HTTP/1.1"


def test_no_proxy_is_heeded(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("https_proxy", "proxy.example:3128")
    environment.setenv("no_proxy", "localhost,.inside.example")
    assert proxy_of(yarl.URL("https://api.openai.com")) == "http://proxy.example:3128"
    assert proxy_of(yarl.URL("https://x.inside.example")) is None
    assert proxy_of(yarl.URL("http://api.openai.com")) is None
