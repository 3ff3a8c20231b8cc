"""WebSockets to providers that have the Realtime API."""

import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode

import yarl
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
    ProxyError,
)

from inference.errors import ProviderError
from inference.gateway import failures
from inference.gateway.drivers.openai_driver import url_of
from inference.gateway.http.network_errors import CONNECTING
from inference.gateway.http.proxies import proxy_of
from inference.gateway.routing.targets import Target

PATH = "/realtime"
LARGEST_MESSAGE = 32 * 1024 * 1024
"""Bytes of one message of a provider."""

QUEUED = 16
"""Messages of a provider that wait for the client; then the provider is not read."""

CLOSE_SECONDS = 2.0
ABNORMAL, NO_STATUS = 1006, 1005
NORMAL, GOING_AWAY, INTERNAL_ERROR = 1000, 1001, 1011

_logger = logging.getLogger("astrolabe.realtime")
_logger.setLevel(logging.ERROR)  # the library logs each connection

_ERRORS: tuple[type[Exception], ...] = (
    InvalidHandshake,
    InvalidProxy,
    InvalidURI,
    ProxyError,
    *(kind for kind, _ in CONNECTING),
)


class _Connect(connect):
    """Connects to a provider; redirects are not followed."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Return the error: the credentials are for this host only."""
        return exc


class ProviderSocket:
    """An open WebSocket to a provider."""

    def __init__(self, target: Target, connection: ClientConnection) -> None:
        self._target = target
        self._connection = connection

    async def send(self, message: str | bytes) -> None:
        """Send a message; wait while the provider does not read. A closed connection takes none."""
        try:
            await self._connection.send(message)
        except ConnectionClosed:
            await self._connection.wait_closed()

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Iterate over the messages until the connection is closed, without the target's secrets."""
        while True:
            try:
                message = await self._connection.recv()
            except ConnectionClosed:
                return
            yield self._filtered(message)

    @property
    def close_code(self) -> int:
        """The code with which the provider closed; ABNORMAL if the connection broke."""
        code = self._connection.close_code
        return ABNORMAL if code is None else code

    @property
    def close_reason(self) -> str:
        """The reason that the provider gave."""
        return self._target.error_filter.text(self._connection.close_reason or "")

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close the connection, however long the provider takes to answer."""
        sendable = (
            code if 1000 <= code < 5000 and code not in (1004, NO_STATUS, ABNORMAL, 1015) else GOING_AWAY
        )
        await self._connection.close(sendable, reason)

    def _filtered(self, message: str | bytes) -> str | bytes:
        data = message.encode() if isinstance(message, str) else message
        if not self._target.filter.may_be_in(data):
            return message
        return self._target.filter.text(data.decode("utf-8", "replace"))


async def open_socket(target: Target, query: Mapping[str, str], headers: Mapping[str, str]) -> ProviderSocket:
    """Connect to the Realtime API of a provider; raise a ProviderError if it refuses."""
    if target.wire not in ("openai", "responses"):
        raise failures.not_offered(target, f"WebSocket {PATH}")
    url = url_of(target.base_url, f"{PATH}?{urlencode(query)}")
    own = {**dict(target.headers), **headers}
    if target.api_key and "authorization" not in map(str.lower, own):
        own["authorization"] = f"Bearer {target.api_key}"
    try:
        connection = await _Connect(
            str(url.with_scheme("wss" if url.scheme == "https" else "ws")),
            additional_headers=own,
            user_agent_header=None,
            compression=None,
            proxy=proxy_of(url.origin()),
            open_timeout=target.connect_timeout,
            close_timeout=CLOSE_SECONDS,
            max_size=LARGEST_MESSAGE,
            max_queue=QUEUED,
            logger=_logger,
            **_address(target, url),
        )
    except _ERRORS as exc:
        raise _as_provider_error(target, exc) from exc
    return ProviderSocket(target, connection)


def _address(target: Target, url: yarl.URL) -> dict[str, Any]:
    """Return where to connect in place of the host's name, if that was checked."""
    return {"host": target.address, "port": url.port or 80} if target.address else {}


def _as_provider_error(target: Target, exc: Exception) -> ProviderError:
    if isinstance(exc, InvalidStatus):
        response = exc.response
        headers = {name.lower(): value for name, value in response.headers.raw_items()}
        if target.is_callers_url and 300 <= response.status_code < 400:
            return failures.redirected()
        return failures.from_response(
            target, f"GET {PATH}", response.status_code, headers, bytes(response.body or b"")
        )
    if isinstance(exc, (InvalidProxy, ProxyError)):
        return failures.unreachable("its proxy refuses the connection")
    if isinstance(exc, (InvalidHandshake, InvalidURI)):
        return failures.unreadable("it is no handshake of a WebSocket")
    make = next(make for kind, make in CONNECTING if isinstance(exc, kind))
    return make(exc)
