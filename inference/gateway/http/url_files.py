"""Files and pages by URL: fetched from public addresses, and from hosts that the operator lists.

A caller must not read what only this server can reach, so every address is checked, and the connection goes
to the address that was checked. Redirects are followed a few times, each checked like the first URL.
"""

import asyncio
import mimetypes
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus

import yarl

from inference.errors import InferenceError, ProviderError, ProviderRejected
from inference.gateway.driver import ProviderResponse
from inference.gateway.http.hosts import HostGuard
from inference.gateway.http.http_client import Timeouts
from inference.gateway.http.web_client import WebClient

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
    """The bytes of a file, and its name as the server or the URL has it.

    `url` is where it was after redirects, `content_type` what the server says it is.
    """

    data: bytes
    filename: str
    url: str = ""
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class UrlFiles:
    """Fetches files; hosts of `guard`'s list may be in the operator's network, and be asked by http.

    `setting` is the variable in which the operator lists them, `noun` what errors call a file.
    """

    guard: HostGuard = field(default_factory=HostGuard)
    setting: str = "ASTROLABE_FILE_HOSTS"
    noun: str = "file"

    async def fetch(
        self,
        url: str,
        room: int = MAX_BYTES,
        *,
        allows: Callable[[str], bool] = lambda _: True,
        reads: Callable[[str], bool] = lambda _: True,
    ) -> FetchedFile:
        """Return the file of a URL, which has at most `room` bytes; FetchFailed.

        `allows` decides on each host that is asked, redirects included, `reads` on the content type.
        """
        try:
            async with asyncio.timeout(SECONDS):
                return await self._fetch(url, room, allows, reads)
        except TimeoutError as exc:
            raise self._failure(url, f"it was not there after {SECONDS:g} seconds") from exc
        except ProviderError as exc:
            reason = exc.message.replace("The provider", "its server").rstrip(".")
            raise self._failure(url, reason) from exc

    async def _fetch(
        self, url: str, room: int, allows: Callable[[str], bool], reads: Callable[[str], bool]
    ) -> FetchedFile:
        client, asked = WebClient(), self._checked(url, url, allows)
        try:
            for _ in range(MAX_REDIRECTS + 1):
                answer = await self._ask(client, url, asked, room, reads)
                location = answer.headers.get("location")
                if not (300 <= answer.status < 400 and location):
                    break
                asked = self._checked(url, _joined(asked, location), allows)
            else:
                raise self._failure(url, f"it redirects more than {MAX_REDIRECTS} times")
        finally:
            await client.close()
        content_type = answer.headers.get("content-type", "")
        if answer.status != HTTPStatus.OK:
            raise self._failure(url, f"its server answered with status {answer.status}")
        if _is_compressed(answer.headers):
            raise self._failure(url, "its server sends it compressed, which was not asked for")
        if not reads(content_type):
            raise self._failure(url, f"its type '{content_type[:SHOWN]}' cannot be read")
        if answer.body is None:
            raise self._failure(url, f"it has more than {room} bytes")
        return FetchedFile(answer.body, _filename(asked, answer.headers), str(asked), content_type)

    def _checked(self, url: str, asked: str, allows: Callable[[str], bool]) -> yarl.URL:
        """Return a URL that may be asked, as far as its text tells."""
        try:
            parsed = yarl.URL(asked)
            host, port = parsed.host, parsed.port
        except ValueError as exc:
            raise self._failure(url, "it is not a valid URL") from exc
        if parsed.scheme not in ("http", "https") or not host or port is None or len(asked) > MAX_URL:
            raise self._failure(url, "it is not a valid URL of http or https")
        if parsed.user is not None or parsed.password is not None:
            raise self._failure(url, "it has a user name or password in it")
        if not allows(host):
            raise self._failure(url, f"the request's domains do not include '{host[:SHOWN]}'")
        if not self.guard.lists(parsed) and self.guard.is_private_address(host):
            raise self._forbidden(url, host)
        return parsed

    async def _ask(
        self, client: WebClient, url: str, asked: yarl.URL, room: int, reads: Callable[[str], bool]
    ) -> "_Answer":
        timeouts = Timeouts(CONNECT_SECONDS, SECONDS)
        try:
            response = await client.send("GET", asked, _HEADERS, None, timeouts, self.guard)
        except ProviderRejected as exc:
            raise self._forbidden(url, asked.host or "") from exc
        return await _answer(response, room, reads)

    def _failure(self, url: str, reason: str) -> FetchFailed:
        return FetchFailed(f"The {self.noun} at '{url[:SHOWN]}' cannot be downloaded: {reason}.")

    def _forbidden(self, url: str, host: str) -> FetchFailed:
        listing = f"its operator lists hosts of its own network in {self.setting}"
        return self._failure(url, f"this server does not ask the host '{host[:SHOWN]}'; {listing}")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a server answered; `body` is None if it is too long or nobody wants it."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None


async def _answer(response: ProviderResponse, room: int, reads: Callable[[str], bool]) -> _Answer:
    async with aclosing(response):
        body, type = bytearray(), response.headers.get("content-type", "")
        if response.status == HTTPStatus.OK and not _is_compressed(response.headers) and reads(type):
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
