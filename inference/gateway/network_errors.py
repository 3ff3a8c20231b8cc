"""Turn the errors of sockets, TLS and aiohttp into ProviderErrors, by one table for each client."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp

from inference.errors import ProviderError
from inference.gateway import failures
from inference.gateway.driver import ConnectionLost

Table = tuple[tuple[type[Exception], Callable[[Any], ProviderError]], ...]


def _certificate(exc: ssl.SSLCertVerificationError) -> ProviderError:
    return failures.unreachable(f"its certificate is not valid: {exc.verify_message}")


def _host(_: UnicodeError) -> ProviderError:
    return failures.unreachable("its host name is not valid")


def _system(exc: OSError) -> ProviderError:
    return failures.unreachable(exc.strerror or "the connection was refused")


CONNECTING: Table = (
    (TimeoutError, lambda _: failures.unreachable("the connection timed out")),
    (ssl.SSLCertVerificationError, _certificate),
    (ssl.SSLError, lambda exc: failures.unreachable(f"TLS failed: {exc.reason}")),
    (OSError, _system),
    (UnicodeError, _host),
)
"""Errors of asyncio's connections; the first match counts, as in every table here."""


def of_aiohttp(read_timeout: float) -> Table:
    """Return the table of aiohttp's errors, for a response that may be silent for `read_timeout` seconds."""
    return (
        (aiohttp.ConnectionTimeoutError, lambda _: failures.unreachable("the connection timed out")),
        (TimeoutError, lambda _: failures.timed_out(read_timeout)),
        (aiohttp.ClientConnectorCertificateError, lambda exc: _certificate(exc.certificate_error)),
        (aiohttp.ClientConnectorError, lambda exc: _system(exc.os_error)),
        (aiohttp.ServerDisconnectedError, lambda _: failures.unreachable("it closed the connection")),
        (aiohttp.ClientPayloadError, lambda _: ConnectionLost(failures.cut_off().message, status=502)),
        (aiohttp.ClientError, lambda exc: failures.unreachable(type(exc).__name__)),
        (OSError, _system),
        (UnicodeError, _host),
    )


@contextmanager
def mapped(table: Table) -> Iterator[None]:
    """Raise an error of the block as the ProviderError that the table has for it."""
    try:
        yield
    except tuple(kind for kind, _ in table) as exc:
        raise next(make for kind, make in table if isinstance(exc, kind))(exc) from exc
