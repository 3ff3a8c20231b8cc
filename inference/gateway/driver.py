"""The port to providers: one HTTP request and its response."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from inference.errors import ProviderBroken
from inference.gateway import failures
from inference.gateway.http.forms import Form
from inference.gateway.routing.targets import Target
from persistence.types import JSON

Body = JSON | Form | bytes | AsyncIterable[bytes] | None

LARGEST_ANSWER = 256 * 1024 * 1024
"""Bytes of a response that is read whole."""

LARGEST_COMPLETION = 32 * 1024 * 1024
"""Bytes of an answer that is not streamed, embeddings apart."""


class ConnectionLost(ProviderBroken):
    """The connection was lost before the end of the response."""


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """A request; `path` is relative to the provider's base URL.

    A dict is sent as JSON, a form as multipart; bytes are sent as they are, with a content type in
    `headers`.
    """

    method: str
    path: str
    body: Body = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def described(self) -> str:
        """Method and path, for error messages."""
        return f"{self.method} {self.path}"


class ProviderResponse(ABC):
    """Status, headers (lower-case names) and the body as it arrives; always close it."""

    status: int
    headers: Mapping[str, str]

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the body as it arrives; raises ConnectionLost or ProviderTimeout."""

    @abstractmethod
    async def aclose(self) -> None:
        """Release the connection, which is used again if the body was read to its end."""

    async def drain(self) -> None:  # noqa: B027 - most need not wait
        """Wait briefly for the end of a body whose content is complete, to keep the connection."""

    async def read(self, limit: int = LARGEST_ANSWER) -> bytes:
        """Return the body; raise ProviderBroken if it is longer than `limit` bytes."""
        body = bytearray()
        async for piece in self:
            body += piece
            if len(body) > limit:
                raise failures.unreadable(f"it is longer than {limit} bytes")
        return bytes(body)

    async def start(self, limit: int) -> bytes:
        """Return the first bytes of the body, at most `limit`."""
        body = bytearray()
        try:
            async for piece in self:
                body += piece
                if len(body) >= limit:
                    break
        except ConnectionLost:
            pass
        return bytes(body[:limit])


class MadeResponse(ProviderResponse):
    """A response that a driver makes of a library's or a model's answer."""

    def __init__(self, pieces: AsyncGenerator[bytes, None], content_type: str = "application/json") -> None:
        self.status = 200
        self.headers = {"content-type": content_type}
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the pieces."""
        return self._pieces

    async def aclose(self) -> None:
        """Close their source."""
        await self._pieces.aclose()


async def one_piece(body: bytes) -> AsyncGenerator[bytes, None]:
    """Yield a whole body."""
    yield body


class Driver(Protocol):
    """Sends requests to the targets of one wire; never retries."""

    async def send(self, target: Target, request: ProviderRequest) -> ProviderResponse:
        """Return the response, whatever its status; raise a ProviderError if there is none."""

    async def close(self) -> None:
        """Close every connection."""
