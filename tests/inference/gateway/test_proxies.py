"""HTTP_PROXY, HTTPS_PROXY and NO_PROXY hold for the OpenAI driver and for litellm's."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import yarl

from inference.gateway.http.proxies import proxy_of
from persistence.types import JSON
from tests.inference.gateway.proxy import Proxy, join
from tests.provider import ProviderProcess
from tests.server import Server


@asynccontextmanager
async def tls_in_front_of(port: int, certificate: tuple[Path, Path]) -> AsyncIterator[int]:
    """A port that speaks TLS and forwards to `port`."""
    key, cert = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await join((reader, writer), await asyncio.open_connection("127.0.0.1", port))

    server = await asyncio.start_server(forward, "localhost", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def proxied(
    tmp_path: Path, provider: ProviderProcess, certificate: tuple[Path, Path]
) -> AsyncIterator[SimpleNamespace]:
    """A server behind a proxy, with models over HTTP and HTTPS, and on a host that needs no proxy."""
    async with Proxy() as proxy, tls_in_front_of(provider.port, certificate) as tls_port:
        roots = {
            "http": f"http://localhost:{provider.port}",
            "https": f"https://localhost:{tls_port}",
            "direct": f"http://127.0.0.1:{provider.port}",
        }
        lines = ["providers:"]
        for name, root in roots.items():
            lines += [f'  {name}: {{base_url: "{root}/v1", api_key: any, retries: 0}}']
            lines += [f'  {name}-litellm: {{wire: litellm, base_url: "{root}", api_key: any, retries: 0}}']
        lines += ["models:"]
        for name in roots:
            lines += [f"  {name}: {{provider: {name}, model: any-model}}"]
            lines += [f"  {name}-litellm: {{provider: {name}-litellm, model: anthropic/claude-sonnet-4-5}}"]
        (tmp_path / "models.yaml").write_text("\n".join(lines))
        environment = {
            "HTTP_PROXY": proxy.url,
            "HTTPS_PROXY": proxy.url,
            "NO_PROXY": "127.0.0.1",
            "SSL_CERT_FILE": str(certificate[1]),
            "ASTROLABE_MODELS": str(tmp_path / "models.yaml"),
        }
        server = Server(tmp_path, workers=1, **environment)
        await asyncio.to_thread(server.start)
        yield SimpleNamespace(url=server.url, proxy=proxy, provider=provider.port, tls=tls_port)
        await asyncio.to_thread(server.stop)


@pytest.mark.slow
async def test_both_drivers_go_through_the_proxy(proxied: SimpleNamespace, ask: Callable[..., JSON]) -> None:
    seen = proxied.proxy.seen
    plain, tunnel = f"http://localhost:{proxied.provider}", f"CONNECT localhost:{proxied.tls}"
    ways = {
        "http": [f"POST {plain}/v1/chat/completions"],
        "http-litellm": [f"POST {plain}/v1/messages"],
        "https": [tunnel],
        "https-litellm": [tunnel],
        "direct": [],
        "direct-litellm": [],
    }
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        for model, way in ways.items():
            seen.clear()
            request = ask(model, text="Hello there.")
            answer = await client.post(
                f"{proxied.url}/chat/completions", json=request, headers={"authorization": "Bearer any"}
            )
            assert answer.json()["choices"][0]["message"]["content"] == "Hello there.", model
            assert seen == way, model


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    proxy_of.cache_clear()
    yield monkeypatch
    proxy_of.cache_clear()


def test_no_proxy_names_hosts_and_domains(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("https_proxy", "proxy.example:3128")
    environment.setenv("no_proxy", "localhost,.inside.example")
    assert proxy_of(yarl.URL("https://api.openai.com")) == "http://proxy.example:3128"
    assert proxy_of(yarl.URL("https://x.inside.example")) is None
    assert proxy_of(yarl.URL("http://api.openai.com")) is None
