"""Files by URL: fetched from where callers may send the server, and from nowhere else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from inference.gateway.http import url_files
from inference.gateway.http.hosts import HostGuard
from inference.gateway.http.url_files import FetchFailed, UrlFiles

PAGES = {
    "/a.txt": b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nAye.",
    "/named": b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n"
    b'content-disposition: attachment; filename="../b.pdf"\r\n\r\n%PDF',
    "/typed": b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-type: application/pdf\r\n\r\n%PDF",
    "/gone": b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
    "/moved": b"HTTP/1.1 302 Found\r\nlocation: /a.txt\r\ncontent-length: 0\r\n\r\n",
    "/inside": b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/keys\r\ncontent-length: 0\r\n\r\n",
    "/local": b"HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\n\r\n",
    "/round": b"HTTP/1.1 302 Found\r\nlocation: /round\r\ncontent-length: 0\r\n\r\n",
    "/large": b"HTTP/1.1 200 OK\r\ncontent-length: 300\r\n\r\n" + b"x" * 300,
    "/packed": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-encoding: gzip\r\n\r\n\x1f\x8b",
    "/silent": b"",
}


@pytest.fixture
async def site() -> AsyncIterator[str]:
    """A web server on loopback; its URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(PAGES[head.split()[1].decode()])
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def fetching(site: str) -> UrlFiles:
    return UrlFiles(HostGuard(frozenset({site.removeprefix("http://")})))


@pytest.mark.parametrize(
    ("path", "name", "data"),
    [
        ("/a.txt", "a.txt", b"Aye."),
        ("/named", "b.pdf", b"%PDF"),
        ("/typed", "typed.pdf", b"%PDF"),
        ("/moved", "a.txt", b"Aye."),
    ],
)
async def test_a_file_comes_with_its_name(site: str, path: str, name: str, data: bytes) -> None:
    file = await fetching(site).fetch(site + path)
    assert (file.filename, file.data) == (name, data)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/gone", "its server answered with status 404"),
        ("/inside", "does not ask the host '169.254.169.254'"),
        ("/local", "it is not a valid URL of http or https"),
        ("/round", "it redirects more than 3 times"),
        ("/packed", "its server sends it compressed"),
    ],
)
async def test_what_cannot_be_had_is_refused_with_the_reason(site: str, path: str, reason: str) -> None:
    with pytest.raises(FetchFailed, match=reason):
        await fetching(site).fetch(site + path)


async def test_a_file_may_not_be_too_large_or_too_slow(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url_files, "SECONDS", 0.2)
    with pytest.raises(FetchFailed, match="it has more than 299 bytes"):
        await fetching(site).fetch(site + "/large", 299)
    with pytest.raises(FetchFailed, match=r"it was not there after 0\.2 seconds|sent nothing"):
        await fetching(site).fetch(site + "/silent")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/x",
        "http://localhost/x",
        "http://[::1]/x",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://0.0.0.0/x",
    ],
)
async def test_no_address_of_the_servers_network_is_asked(url: str) -> None:
    with pytest.raises(FetchFailed, match="ASTROLABE_FILE_HOSTS"):
        await UrlFiles().fetch(url)


async def test_a_name_that_resolves_to_the_servers_network_is_not_asked(
    site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(*_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(2, 1, 6, "", ("127.0.0.1", 80))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(FetchFailed, match=r"does not ask the host 'rebound\.example'"):
        await UrlFiles().fetch("http://rebound.example/a.txt")


@pytest.mark.parametrize("url", ["ftp://a.example/x", "https://", "http://u:p@a.example/", "http://"])
async def test_what_is_no_url_of_http_is_not_asked(url: str) -> None:
    with pytest.raises(FetchFailed, match="cannot be downloaded: it "):
        await UrlFiles().fetch(url)
