"""The port: one HTTP request to a provider, and its response."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from inference.errors import ProviderBroken
from inference.gateway import failures
from inference.gateway.targets import Target
from persistence.types import JSON

Body = JSON | bytes | AsyncIterable[bytes] | None

LARGEST_ANSWER = 256 * 1024 * 1024
"""Bytes of a response that is read whole."""


class ConnectionLost(ProviderBroken):
    """The connection broke before the response was whole."""


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """A request by its path below the provider's base URL.

    A dict is sent as JSON; bytes (multipart, audio) are sent as they are, with the content type that
    stands in `headers`.
    """

    method: str
    path: str
    body: Body = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def asked(self) -> str:
        """Method and path, for error messages."""
        return f"{self.method} {self.path}"


class ProviderResponse(ABC):
    """Status, headers (lower-case names) and the body as it arrives; close it in any case."""

    status: int
    headers: Mapping[str, str]

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the body as it arrives; raises ConnectionLost or ProviderTimeout."""

    @abstractmethod
    async def aclose(self) -> None:
        """End the exchange; a connection with nothing left to read is used again."""

    async def drain(self) -> None:  # noqa: B027 - most have nothing to wait for
        """Wait shortly for the end of a body whose content is complete, to keep its connection."""

    async def read(self, most: int = LARGEST_ANSWER) -> bytes:
        """Return the body; ProviderBroken if it is longer than `most`."""
        body = bytearray()
        async for piece in self:
            body += piece
            if len(body) > most:
                raise failures.unreadable(f"it is longer than {most} bytes")
        return bytes(body)

    async def start(self, most: int) -> bytes:
        """Return the first bytes of the body, at most `most`."""
        body = bytearray()
        try:
            async for piece in self:
                body += piece
                if len(body) >= most:
                    break
        except ConnectionLost:
            pass
        return bytes(body[:most])


class MadeResponse(ProviderResponse):
    """A response that a driver makes itself, of what a library or a model gave it."""

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
    """Yield a body that is there already."""
    yield body


class Driver(Protocol):
    """Sends requests to the targets of one wire, each once."""

    async def send(self, target: Target, request: ProviderRequest) -> ProviderResponse:
        """Return the response, whatever its status; raises a ProviderError where there is none."""

    async def close(self) -> None:
        """Close every connection."""
