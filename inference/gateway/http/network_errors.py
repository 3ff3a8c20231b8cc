"""Turn the errors of sockets and TLS into ProviderErrors, by a table."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from inference.errors import ProviderError
from inference.gateway import failures

Table = tuple[tuple[type[Exception], Callable[[Any], ProviderError]], ...]


def certificate_error(exc: ssl.SSLCertVerificationError) -> ProviderError:
    """Return the error of a certificate that is refused."""
    return failures.unreachable(f"its certificate is not valid: {exc.verify_message}")


def host_error(_: UnicodeError) -> ProviderError:
    """Return the error of a host name that cannot be looked up."""
    return failures.unreachable("its host name is not valid")


def system_error(exc: OSError) -> ProviderError:
    """Return the error of a connection that the system refused."""
    return failures.unreachable(exc.strerror or "the connection was refused")


CONNECTING: Table = (
    (TimeoutError, lambda _: failures.unreachable("the connection timed out")),
    (ssl.SSLCertVerificationError, certificate_error),
    (ssl.SSLError, lambda exc: failures.unreachable(f"TLS failed: {exc.reason}")),
    (OSError, system_error),
    (UnicodeError, host_error),
)
"""Errors of asyncio's connections; the first match counts, as in every table here."""


@contextmanager
def mapped(table: Table) -> Iterator[None]:
    """Raise an error of the block as the ProviderError that the table has for it."""
    try:
        yield
    except tuple(kind for kind, _ in table) as exc:
        raise next(make for kind, make in table if isinstance(exc, kind))(exc) from exc
