"""Files by URL: fetched for a caller, from public addresses and from hosts that the operator lists.

A caller must not read what only this server can reach, so every address is checked, and the connection goes
to the address that was checked. Redirects are followed a few times, each checked like the first URL.
"""

import asyncio
import mimetypes
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus

import yarl

from inference.errors import InferenceError, ProviderError, ProviderRejected
from inference.gateway.driver import ProviderResponse
from inference.gateway.http.hosts import HostGuard
from inference.gateway.http.http_client import HttpClient, Timeouts
from inference.gateway.http.proxies import proxied_client, proxy_of

MAX_BYTES = 32 * 1024 * 1024
MAX_URL = 8192
MAX_NAME = 255
SHOWN = 300
"""Characters of a URL that an error shows."""

MAX_REDIRECTS = 3

CONNECT_SECONDS = 5.0
SECONDS = 30.0
"""In which a file has to be there, redirects included."""

_HEADERS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "astrolabe"}


class FetchFailed(InferenceError):
    """A file cannot be fetched from its URL; the message says why."""


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """The bytes of a file, and its name as the server or the URL has it."""

    data: bytes
    filename: str


@dataclass(frozen=True, slots=True)
class UrlFiles:
    """Fetches files; hosts of `guard`'s list may be in the operator's network, and be asked by http."""

    guard: HostGuard = field(default_factory=HostGuard)

    async def fetch(self, url: str, room: int = MAX_BYTES) -> FetchedFile:
        """Return the file of a URL, which has at most `room` bytes; FetchFailed."""
        try:
            async with asyncio.timeout(SECONDS):
                return await self._fetch(url, room)
        except TimeoutError as exc:
            raise _failure(url, f"it was not there after {SECONDS:g} seconds") from exc
        except ProviderError as exc:
            reason = exc.message.replace("The provider", "its server").rstrip(".")
            raise _failure(url, reason) from exc

    async def _fetch(self, url: str, room: int) -> FetchedFile:
        client, asked = HttpClient(), self._checked(url, url)
        try:
            for _ in range(MAX_REDIRECTS + 1):
                answer = await self._ask(client, url, asked, room)
                location = answer.headers.get("location")
                if not (300 <= answer.status < 400 and location):
                    break
                asked = self._checked(url, _joined(asked, location))
            else:
                raise _failure(url, f"it redirects more than {MAX_REDIRECTS} times")
        finally:
            await client.close()
        if answer.status != HTTPStatus.OK:
            raise _failure(url, f"its server answered with status {answer.status}")
        if _is_compressed(answer.headers):
            raise _failure(url, "its server sends it compressed, which was not asked for")
        if answer.body is None:
            raise _failure(url, f"it has more than {room} bytes")
        return FetchedFile(answer.body, _filename(asked, answer.headers))

    def _checked(self, url: str, asked: str) -> yarl.URL:
        """Return a URL that may be asked, as far as its text tells."""
        try:
            parsed = yarl.URL(asked)
            host, port = parsed.host, parsed.port
        except ValueError as exc:
            raise _failure(url, "it is not a valid URL") from exc
        if parsed.scheme not in ("http", "https") or not host or port is None or len(asked) > MAX_URL:
            raise _failure(url, "it is not a valid URL of http or https")
        if parsed.user is not None or parsed.password is not None:
            raise _failure(url, "it has a user name or password in it")
        if not self.guard.lists(parsed) and self.guard.is_private_address(host):
            raise _forbidden(url, host)
        return parsed

    async def _ask(self, client: HttpClient, url: str, asked: yarl.URL, room: int) -> "_Answer":
        timeouts = Timeouts(CONNECT_SECONDS, SECONDS)
        proxy = proxy_of(asked.origin())
        if proxy is not None:  # it resolves the name itself
            proxied = proxied_client()
            try:
                response = await proxied.send("GET", asked, _HEADERS, None, timeouts, proxy)
                return await _answer(response, room)
            finally:
                await proxied.close()
        try:
            address = await self.guard.address(str(asked), CONNECT_SECONDS)
        except ProviderRejected as exc:
            raise _forbidden(url, asked.host or "") from exc
        return await _answer(await client.send("GET", asked, _HEADERS, None, timeouts, address), room)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a server answered; `body` is None if it is too long or nobody wants it."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None


async def _answer(response: ProviderResponse, room: int) -> _Answer:
    async with aclosing(response):
        body = bytearray()
        if response.status == HTTPStatus.OK and not _is_compressed(response.headers):
            async for piece in response:
                body += piece
                if len(body) > room:
                    return _Answer(response.status, response.headers, None)
        return _Answer(response.status, response.headers, bytes(body))


def _is_compressed(headers: Mapping[str, str]) -> bool:
    """Return whether an answer is compressed: a small one could fill the memory."""
    return headers.get("content-encoding", "identity").lower() != "identity"


def _joined(asked: yarl.URL, location: str) -> str:
    try:
        return str(asked.join(yarl.URL(location)))
    except ValueError:
        return ""


def _filename(asked: yarl.URL, headers: Mapping[str, str]) -> str:
    """Return the name that the server gives the file, else the URL's, with an extension of its type."""
    message = Message()
    message["Content-Disposition"] = headers.get("content-disposition", "")
    name = (message.get_filename() or asked.name or "file").rpartition("/")[2]
    if "." not in name:
        kind = headers.get("content-type", "").partition(";")[0].strip()
        name += mimetypes.guess_extension(kind) or ""
    return name[:MAX_NAME]


def _failure(url: str, reason: str) -> FetchFailed:
    return FetchFailed(f"The file at '{url[:SHOWN]}' cannot be downloaded: {reason}.")


def _forbidden(url: str, host: str) -> FetchFailed:
    listing = "its operator lists hosts of its own network in ASTROLABE_FILE_HOSTS"
    return _failure(url, f"this server does not ask the host '{host[:SHOWN]}'; {listing}")
