"""The HTTP client against servers that keep to HTTP, and servers that do not."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest
import yarl

from inference.errors import ProviderBroken, ProviderTimeout
from inference.gateway import Gateway, Routes
from inference.gateway.driver import ConnectionLost, ProviderRequest
from inference.gateway.http import http_client
from inference.gateway.http.http_client import HttpClient, Timeouts
from inference.gateway.routing.targets import Target

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
TIMEOUTS = Timeouts(10, 10)


@asynccontextmanager
async def listening(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on loopback, by its port; its connections are closed with it."""
    writers: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)

    server = await asyncio.start_server(handle, "localhost" if context else "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()
        for writer in writers:
            with suppress(ConnectionError, ssl.SSLError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), 5)


@asynccontextmanager
async def serving(
    *answers: bytes, seen: list[bytes] | None = None, hold: bool = False
) -> AsyncIterator[yarl.URL]:
    """A server whose connections give these answers, one a request, and then close (or hold)."""
    rest = list(answers)
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while rest:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), 0
            )
            body = await reader.readexactly(length)
            if b"chunked" in head:
                body = await reader.readuntil(b"0\r\n\r\n")
            if seen is not None:
                seen.append(head + body)
            writer.write(rest.pop(0))
            await writer.drain()
        if hold:
            await done.wait()
        writer.close()

    async with listening(serve) as port:
        yield yarl.URL(f"http://127.0.0.1:{port}/v1/x")
        done.set()


async def asked(client: HttpClient, url: yarl.URL, timeouts: Timeouts = TIMEOUTS) -> tuple[int, bytes]:
    async with aclosing(await client.send("POST", url, {"a": "b"}, b"{}", timeouts)) as response:
        return response.status, await response.read()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nHello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nHe\r\n3;x=y\r\nllo\r\n0\r\nt: u\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nHello",
        b"HTTP/1.0 200 OK\r\n\r\nHello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nHello",
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nHello",
    ],
)
async def test_a_body_is_complete_however_it_is_framed(answer: bytes) -> None:
    client = HttpClient()
    async with serving(answer) as url:
        assert await asked(client, url) == (200, b"Hello")
    await client.close()


async def test_a_body_that_is_compressed_unasked_is_read() -> None:
    body = gzip.compress(b"Hello")
    client = HttpClient()
    async with serving(
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    ) as url:
        assert await asked(client, url) == (200, b"Hello")
    await client.close()


async def test_the_port_sends_and_returns_bytes() -> None:
    seen: list[bytes] = []
    form = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n--b--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=b"}
    async with serving(
        b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 3\r\n\r\n\x00\xff\x00", seen=seen
    ) as url:
        target = Target("p", "openai", "m", base_url=f"http://127.0.0.1:{url.port}/v1", api_key="sk-x")
        gateway = Gateway(Routes.from_environment("sk-x", target.base_url))
        await gateway.open()
        response = await gateway.send(target, ProviderRequest("POST", "/audio/speech", form, headers))
        async with aclosing(response):
            assert response.headers["content-type"] == "audio/mpeg"
            assert await response.read() == b"\x00\xff\x00"
        await gateway.close()
    (request,) = seen
    assert request.startswith(b"POST /v1/audio/speech HTTP/1.1\r\n")
    assert b"content-type: multipart/form-data; boundary=b\r\n" in request
    assert b"authorization: Bearer sk-x\r\n" in request
    assert request.endswith(form)


async def test_a_request_is_valid_http() -> None:
    seen: list[bytes] = []
    client = HttpClient()
    async with serving(b"HTTP/1.1 204 No Content\r\n\r\n", seen=seen) as url:
        assert await asked(client, url.with_query("a=b")) == (204, b"")
    head = seen[0].decode()
    assert head.startswith(f"POST /v1/x?a=b HTTP/1.1\r\nhost: 127.0.0.1:{url.port}\r\n")
    assert "content-length: 2\r\n" in head
    assert head.endswith("\r\n\r\n{}")


async def test_an_iterated_body_is_sent_in_chunks() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    seen: list[bytes] = []
    client = HttpClient()
    async with serving(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", seen=seen) as url:
        response = await client.send("POST", url, {}, pieces(), TIMEOUTS)
        assert response.status == 200
        await response.aclose()
    assert seen[0].endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


async def test_connections_are_reused() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx"
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.readuntil(b"{}"):
            writer.write(answer)

    client = HttpClient()
    async with listening(serve) as port:
        for _ in range(5):
            assert await asked(client, yarl.URL(f"http://127.0.0.1:{port}/")) == (200, b"x")
        await client.close()
    assert connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxextra bytes",
        b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx",
    ],
)
async def test_a_connection_that_cannot_be_reused_is_closed(answer: bytes) -> None:
    client = HttpClient()
    async with serving(answer, answer, hold=True) as url:
        for _ in range(2):
            assert (await asked(client, url))[0] == 200
    await client.close()


async def test_a_connection_whose_response_outlives_the_client_is_closed() -> None:
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx")
        with suppress(ConnectionError):
            await reader.read()
        closed.set()
        writer.close()

    client = HttpClient()
    async with listening(serve) as port:
        url = yarl.URL(f"http://127.0.0.1:{port}/")
        async with aclosing(await client.send("POST", url, {}, b"{}", TIMEOUTS)) as response:
            assert await response.read() == b"x"
            await client.close()
        await asyncio.wait_for(closed.wait(), 5)


async def test_a_pooled_connection_that_was_closed_is_replaced_and_nothing_is_sent_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[bytes] = []
    monkeypatch.setattr(http_client, "CHECK_AFTER", 0.0)
    client = HttpClient()
    async with serving(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", seen=seen) as url:
        assert await asked(client, url) == (200, b"x")
        await asyncio.sleep(0.05)  # the server closes now
        with pytest.raises(ProviderBroken, match="closed the connection"):
            await asked(client, url)
    assert len(seen) == 1
    await client.close()


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (b"", ProviderBroken, "closed the connection"),
        (b"nonsense\r\n\r\n", ProviderBroken, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", ConnectionLost, "before its end"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nHello\r\n",
            ConnectionLost,
            "before its end",
        ),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
            ProviderBroken,
            "another protocol|closed",
        ),
    ],
)
async def test_a_response_that_breaks_off_is_an_error(
    answer: bytes, kind: type[ProviderBroken], words: str
) -> None:
    client = HttpClient()
    async with serving(answer) as url:
        with pytest.raises(kind, match=words):
            await asked(client, url)
    await client.close()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"])
async def test_silence_is_a_timeout(answer: bytes) -> None:
    client = HttpClient()
    async with serving(answer, hold=True) as url:
        with pytest.raises(ProviderTimeout, match=r"0\.2 seconds"):
            await asked(client, url, Timeouts(2, 0.2))
    await client.close()


async def test_a_refused_connection_says_so() -> None:
    with pytest.raises(ProviderBroken, match="cannot be reached"):
        await asked(HttpClient(), yarl.URL("http://127.0.0.1:1/"))


async def test_a_header_cannot_inject_another() -> None:
    with pytest.raises(ProviderBroken, match="cannot be sent"):
        await HttpClient().send("GET", yarl.URL("http://127.0.0.1:1/"), {"a": "b\r\nc: d"}, None, TIMEOUTS)


async def test_a_slow_reader_pauses_the_sender() -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        for _ in range(100):
            writer.write(b"x" * 1_000_000)
            await writer.drain()
            sent += 1

    client = HttpClient()
    async with listening(serve) as port:
        url = yarl.URL(f"http://127.0.0.1:{port}/")
        async with aclosing(await client.send("POST", url, {}, b"{}", Timeouts(5, 10))) as response:
            await asyncio.sleep(0.5)
            assert sent < 50
            assert len(await response.read()) == 100_000_000
        await client.close()


@pytest.mark.parametrize("trusted", [True, False])
async def test_tls_needs_a_trusted_certificate(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    key, cert = certificate
    if trusted:
        monkeypatch.setattr(http_client, "_tls", lambda: ssl.create_default_context(cafile=str(cert)))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nHello")

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    client = HttpClient()
    async with listening(serve, context) as port:
        url = yarl.URL(f"https://localhost:{port}/")
        if trusted:
            assert await asked(client, url) == (200, b"Hello")
        else:
            with pytest.raises(ProviderBroken, match="certificate"):
                await asked(client, url)
        await client.close()
