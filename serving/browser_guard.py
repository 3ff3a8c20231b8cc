"""Keeps web pages of other sites away from a server that needs no key (ASTROLABE_AUTH=open).

A page can have its browser send requests to this machine although it may not read the responses, and
it can read them too once its own DNS name resolves to this machine (DNS rebinding).
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from handlers.errors import Forbidden
from serving.cors import Cors
from serving.request import Request

PRIVATE_SUFFIXES = (
    ".localhost",
    ".local",
    ".internal",
    ".home.arpa",
    ".test",
    ".svc",
    ".lan",
    ".home",
    ".corp",
    ".intranet",
    ".private",
)
"""Names that public DNS does not resolve, so that no page can be served from them."""

CROSS_SITE = b"cross-site"
NAVIGATE = b"navigate"
"""The mode of a link that somebody follows: the page that has the link cannot read the response."""

MAX_KNOWN = 256


class BrowserGuard:
    """Refuses Host headers with foreign DNS names, and cross-site requests that CORS does not allow.

    IP addresses and names that public DNS does not resolve are never foreign; `hosts` names others,
    and `*` allows every name.
    """

    def __init__(self, hosts: tuple[str, ...], cors: Cors) -> None:
        self._hosts = frozenset(hosts)
        self._cors = cors
        self._known: set[bytes] = {b""}

    def check(self, request: Request) -> None:
        """Raise Forbidden for a request that a page of another site may have caused."""
        host = request.headers.raw(b"host")
        if host not in self._known:
            self._check_host(host)
        origin = request.headers.raw(b"origin")
        is_cross_site = request.headers.raw(b"sec-fetch-site") == CROSS_SITE
        if origin:
            is_cross_site = is_cross_site or _host_of(origin) != _name(host)
        elif request.headers.raw(b"sec-fetch-mode") == NAVIGATE:
            return
        if is_cross_site and not self._cors.allows(origin):
            raise Forbidden(
                f"Pages of '{origin.decode('latin-1')[:255]}' may not call this server. To allow them, set "
                "ASTROLABE_CORS_ORIGINS to their origin.",
                code="cross_site_request",
            )

    def _check_host(self, host: bytes) -> None:
        name = _name(host)
        if not (is_private(name) or name in self._hosts or "*" in self._hosts):
            raise Forbidden(
                f"The host '{name[:255]}' is not allowed. A server without keys (ASTROLABE_AUTH=open) is "
                "called by its IP address or a private name; for other names set ASTROLABE_ALLOWED_HOSTS "
                "or ASTROLABE_AUTH=keys.",
                code="host_not_allowed",
            )
        if len(self._known) < MAX_KNOWN:
            self._known.add(host)


def _host_of(origin: bytes) -> str | None:
    """Return the host of an Origin header, or None if it has none."""
    try:
        return urlsplit(origin.decode("latin-1")).hostname
    except ValueError:  # brackets that hold no address
        return None


def _name(host: bytes) -> str:
    """Return the name or the address in a Host header, without its port."""
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")


def is_private(name: str) -> bool:
    """Return whether a host is an address, or a name that public DNS does not resolve."""
    if "." not in name and ":" not in name:
        return True
    if name.endswith(PRIVATE_SUFFIXES):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
