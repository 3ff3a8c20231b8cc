"""Which server a tool of a request means, and how it is reached."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import yarl

from inference.engine.errors import ToolRefused
from inference.gateway.http.hosts import HostGuard
from inference.gateway.routing.targets import is_secret
from inference.mcp.results import CallResult
from persistence.types import JSON

LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
INVALID_LABEL = "a label begins with a letter and has at most 64 letters, digits, '-' and '_'"

MAX_URL = 8192
SHOWN = 255
"""Characters of a host that an error shows."""

CALL_SECONDS = 60.0
"""Of a call, unless the operator's file has another `timeout`."""

LISTING = "The server's operator lists hosts of its own network in ASTROLABE_MCP_HOSTS."


@dataclass(frozen=True, slots=True)
class RemoteServer:
    """A server that is asked over HTTP.

    With `guard`, every address that it is asked at is checked; an operator's own server has none. `headers`
    may hold secrets. `seconds` bound a call.
    """

    label: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    guard: HostGuard | None = None
    seconds: float = CALL_SECONDS

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets among the headers, which the server may repeat in its answers."""
        found = (value for name, value in self.headers.items() if is_secret(name, value))
        return tuple(value.removeprefix("Bearer ") for value in found)


@dataclass(frozen=True, slots=True)
class ProcessServer:
    """A server that is a process of this worker, asked over its standard input and output."""

    label: str
    command: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: str | None = None
    seconds: float = CALL_SECONDS


class ServerSession(Protocol):
    """An open session with a server. A server of this worker itself is its own session."""

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""

    async def list_tools(self) -> list[JSON]:
        """Return the server's tools, as an item of the type mcp_list_tools has them; ServerFailed."""

    async def call(self, name: str, arguments: JSON) -> CallResult:
        """Call a tool; ServerFailed."""

    async def close(self) -> None:
        """End the session."""


class OwnServers(Protocol):
    """Servers of this worker itself, by label."""

    @property
    def labels(self) -> Sequence[str]:
        """All labels."""

    def find(self, label: str, project: str, conversation: str) -> ServerSession | None:
        """Return the server of a label for the calls of a project, None if it may not use it."""

    async def close(self) -> None:
        """Close what the servers share."""


ExternalServer = RemoteServer | ProcessServer

Server = ExternalServer | ServerSession


def fault_of_url(text: str) -> str:
    """Return what is wrong with a URL of the operator's file, "" if nothing is."""
    try:
        url = yarl.URL(text)
        is_valid = url.scheme in ("http", "https") and bool(url.host) and url.port is not None
    except ValueError:
        is_valid = False
    if not is_valid:
        return "is not a valid URL of http or https"
    return "has a user name or password in it; put them into 'headers'" if url.user else ""


def checked_url(text: str, guard: HostGuard) -> yarl.URL:
    """Return a URL that a request may name, as far as its text tells; ToolRefused."""
    try:
        url = yarl.URL(text)
        host, port = url.host, url.port
    except ValueError as exc:
        raise ToolRefused("The server's URL is not a valid URL.", "server_url") from exc
    if url.scheme not in ("http", "https") or not host or port is None or len(text) > MAX_URL:
        raise ToolRefused("The server's URL is not a valid URL of http or https.", "server_url")
    if url.user is not None or url.password is not None:
        message = "The server's URL has a user name or password in it: send 'authorization' or 'headers'."
        raise ToolRefused(message, "server_url")
    if not guard.lists(url) and guard.is_private_address(host):
        raise forbidden(host)
    return url


def forbidden(host: str) -> ToolRefused:
    """Return the error of a host whose address must not be asked."""
    message = f"This server does not ask MCP servers at the host '{host[:SHOWN]}'. {LISTING}"
    return ToolRefused(message, "server_url")
