"""Relay a provider's response to a client byte for byte, without its connection's and secret headers."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Self

from inference.gateway import failures
from inference.gateway.answers import normalize
from inference.gateway.driver import ProviderResponse
from inference.gateway.routing.targets import Target
from inference.gateway.secrets_filter import OVERLAP

CHECKED = 1024 * 1024
"""Bytes of a JSON body up to which it is read whole and checked for an error; longer ones are streamed."""

JSON_TYPE = "application/json"
EVENTS_TYPE = "text/event-stream"

DROPPED = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
        "trailer", "transfer-encoding", "upgrade",
        "content-encoding", "content-length",
        "alt-svc", "date", "nel", "report-to", "server", "strict-transport-security", "via",
        "x-content-type-options",
        "authorization", "openai-organization", "openai-project", "set-cookie", "set-cookie2",
        "www-authenticate",
        "openai-processing-ms", "openai-version", "x-request-id",
    }
)  # fmt: skip
"""Headers that are not relayed: those of the connection, of the encoding, of the provider's host, of the
operator's account, and those that this server sets itself."""

DROPPED_PREFIXES = ("access-control-", "cf-")


class RelayedBody:
    """A body on its way; always close it."""

    def __init__(self, response: ProviderResponse, pieces: AsyncGenerator[bytes, None]) -> None:
        self._response = response
        self._pieces = pieces

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._pieces)

    async def aclose(self) -> None:
        """Release the provider's connection."""
        await self._pieces.aclose()
        await self._response.aclose()  # pieces that nobody has read release nothing


@dataclass(frozen=True, slots=True)
class RelayedResponse:
    """A provider's status, headers and body. A body in pieces must be closed."""

    status: int
    headers: Mapping[str, str]
    body: bytes | RelayedBody
    is_events: bool = False

    @property
    def whole(self) -> bytes | None:
        """The body if it was read whole: JSON of moderate size."""
        return self.body if isinstance(self.body, bytes) else None


async def relayed(target: Target, response: ProviderResponse, *, is_json: bool = False) -> RelayedResponse:
    """Return the response to send to the client; raise a ProviderError for one that is an error.

    `is_json` says that the operation answers with JSON or with events, whatever the content type says.
    """
    try:
        return await _relayed(target, response, is_json=is_json)
    except BaseException:
        await response.aclose()
        raise


async def _relayed(target: Target, response: ProviderResponse, *, is_json: bool) -> RelayedResponse:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "text/html":
        raise failures.unreadable("it is a page of HTML")
    is_events = kind == EVENTS_TYPE
    if not is_events and (is_json or kind == JSON_TYPE):
        return await _json(target, response, may_be_empty=not is_json)
    is_text = kind.startswith("text/")
    headers = _headers(target, response)
    length = response.headers.get("content-length")
    if length is not None and not is_text and "content-encoding" not in response.headers:
        headers["content-length"] = length
    pieces = _filtered(target, response) if is_text else _pieces(response)
    return RelayedResponse(response.status, headers, RelayedBody(response, pieces), is_events)


async def _json(target: Target, response: ProviderResponse, *, may_be_empty: bool) -> RelayedResponse:
    """Return a JSON response: checked if it is short, else checked by its beginning."""
    headers = _headers(target, response)
    pieces = aiter(response)
    start = bytearray()
    async for piece in pieces:
        start += piece
        if len(start) > CHECKED:
            break
    else:
        await response.aclose()
        body = bytes(start)
        if body or not may_be_empty:
            normalize.parsed(target, body)
        return RelayedResponse(response.status, headers, _masked(target, body))
    if start.lstrip()[:1] != b"{":
        raise failures.unreadable("it is not a JSON object")
    rest = _filtered(target, response, bytes(start), pieces)
    return RelayedResponse(response.status, headers, RelayedBody(response, rest))


def _headers(target: Target, response: ProviderResponse) -> dict[str, str]:
    return {
        name: target.error_filter.text(value)
        for name, value in response.headers.items()
        if name not in DROPPED and not name.startswith(DROPPED_PREFIXES)
    }


async def _pieces(response: ProviderResponse) -> AsyncGenerator[bytes, None]:
    async with aclosing(response):
        async for piece in response:
            yield piece


async def _filtered(
    target: Target,
    response: ProviderResponse,
    start: bytes = b"",
    pieces: AsyncIterator[bytes] | None = None,
) -> AsyncGenerator[bytes, None]:
    """Yield a text without the target's secrets.

    What may be the beginning of a secret waits for what follows: no secret goes over the end of a line.
    """
    has_secrets = bool(target.secrets())
    held = bytearray(start)
    async with aclosing(response):
        async for piece in pieces if pieces is not None else aiter(response):
            if not has_secrets:
                yield bytes(held) + piece if held else piece
                held.clear()
                continue
            held += piece
            end = max(held.rfind(b"\n") + 1, len(held) - OVERLAP)
            if end > 0:
                masked = _masked(target, bytes(held))
                if masked != held:
                    held, end = bytearray(masked), max(masked.rfind(b"\n") + 1, len(masked) - OVERLAP)
                yield bytes(held[:end])
                del held[:end]
        if held:
            yield _masked(target, bytes(held))


def _masked(target: Target, body: bytes) -> bytes:
    """Return a text without the target's secrets."""
    if not target.filter.may_be_in(body):
        return body
    return target.filter.text(body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
