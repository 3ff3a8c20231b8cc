"""Which hosts a caller's own base URL may name, and the address that a connection to one goes to.

A caller must not reach into the operator's network: only hosts on a list are called, and only at an
address that was checked. The connection goes to that very address, so a name that resolves to another one
a moment later (DNS rebinding) changes nothing.
"""

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import yarl

from inference.errors import ProviderRejected
from inference.gateway import failures

PROVIDERS = frozenset(
    {
        "api.anthropic.com", "api.cerebras.ai", "api.cohere.com", "api.deepseek.com", "api.fireworks.ai",
        "api.groq.com", "api.mistral.ai", "api.openai.com", "api.perplexity.ai", "api.together.xyz",
        "api.x.ai", "generativelanguage.googleapis.com", "openrouter.ai",
    }
)  # fmt: skip
"""The providers' own hosts, which callers may name without the operator's list, by https only."""

AZURE = ".openai.azure.com"
"""The end of the hosts of Azure's resources, which callers may name too."""

METADATA = frozenset(
    map(ip_address, ("100.100.100.200", "168.63.129.16", "169.254.169.254", "192.0.0.192", "fd00:ec2::254"))
)
"""Addresses at which clouds hand out a machine's credentials."""

NAT64 = IPv6Network("64:ff9b::/96")
COMPATIBLE = IPv6Network("::/96")
"""IPv4 addresses in their oldest form as IPv6, such as `::127.0.0.1`."""

LOCALHOST = "localhost"
HEADER = "base-url"


@dataclass(frozen=True, slots=True)
class HostGuard:
    """Checks base URLs of callers. A listed host is `name`, for its scheme's default port, or `name:port`.

    A listed name may resolve to a private address, but not to this machine; an address of this machine,
    or `localhost`, must be listed itself.
    """

    listed: frozenset[str] = frozenset()

    def check(self, base_url: str, *, only_listed: bool = False) -> str:
        """Return the base URL without a slash at its end; raise ProviderRejected for a host not to call."""
        try:
            url = yarl.URL(base_url)
            host, _ = (url.host or "").lower(), url.port
        except ValueError as exc:
            raise ProviderRejected.invalid("The provider's base URL is not a valid URL.", HEADER) from exc
        plain = url.scheme in ("http", "https") and not url.user and not url.query_string and not url.fragment
        if not plain or not (self.lists(url) or (not only_listed and _is_providers(url, host))):
            raise _refusal(host)
        return base_url.rstrip("/")

    async def address(self, base_url: str, seconds: float) -> str:
        """Return the address to connect to for a checked base URL; ProviderRejected if it is forbidden.

        Every address that the name resolves to must be allowed. ProviderBroken if it has none.
        """
        url = yarl.URL(base_url)
        host, port = (url.host or "").lower(), url.port or 80
        if self.lists(url) and (host == LOCALHOST or _as_address(host) is not None):
            return host
        try:
            async with asyncio.timeout(seconds):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError, UnicodeError) as exc:
            raise failures.unreachable(f"the host name '{host}' does not resolve") from exc
        addresses = [ip_address(str(each[4][0]).partition("%")[0]) for each in found]
        may_be_private = self.lists(url)
        if not addresses or any(_is_forbidden(each, may_be_private=may_be_private) for each in addresses):
            raise _refusal(host)
        return str(addresses[0])

    def is_private_address(self, host: str) -> bool:
        """Return whether a host is this machine's name, or an address to which nobody connects unlisted."""
        address = _as_address(host)
        if address is None:
            return host.lower() == LOCALHOST
        return _is_forbidden(address, may_be_private=False)

    def lists(self, url: yarl.URL) -> bool:
        """Return whether the host of a URL is listed."""
        host = (url.host or "").lower()
        return f"{host}:{url.port}" in self.listed or (url.is_default_port() and host in self.listed)


def _refusal(host: str) -> ProviderRejected:
    shown = host[:255]
    return ProviderRejected.invalid(
        f"The provider's base URL (header '{HEADER}') names the host '{shown}', which this server does not "
        "call. Its operator lists hosts in ASTROLABE_PROVIDER_HOSTS.",
        HEADER,
        "host_not_allowed",
    )


def _is_providers(url: yarl.URL, host: str) -> bool:
    return url.scheme == "https" and url.port == 443 and (host in PROVIDERS or host.endswith(AZURE))


def _as_address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_forbidden(address: IPv4Address | IPv6Address, *, may_be_private: bool) -> bool:
    """Return whether no caller may have the server connect to an address."""
    address = _embedded(address)
    if address in METADATA or address.is_multicast or address.is_unspecified:
        return True
    if may_be_private:
        return address.is_loopback or address.is_link_local or address.is_reserved
    return not address.is_global


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address leads to, else the address."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64 or (address in COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
