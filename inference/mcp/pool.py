"""The MCP servers that a worker asks: the operator's by name, and those that requests bring."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import structlog

from inference.engine.errors import ToolRefused
from inference.gateway.http.hosts import HostGuard
from inference.mcp.servers import (
    OwnServers,
    ProcessServer,
    RemoteServer,
    Server,
    ServerSession,
    checked_url,
)
from inference.mcp.servers_file import OperatorServers, bearer
from persistence.types import JSON

if TYPE_CHECKING:
    from inference.mcp.sessions import Session

log = structlog.get_logger("astrolabe.mcp")


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a request sends to one of its servers besides calls; never logged or stored in the clear."""

    authorization: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def sent(self) -> dict[str, str]:
        """The headers to send."""
        return {**self.headers, **(bearer(self.authorization) if self.authorization else {})}


class MCPServers:
    """Finds the server of a tool, and opens sessions. Processes of the operator's servers are shared.

    `own` are servers of this worker itself: the operator's own tools.
    """

    def __init__(
        self,
        operators: OperatorServers | None = None,
        guard: HostGuard | None = None,
        own: OwnServers | None = None,
    ) -> None:
        self._operators = operators or OperatorServers()
        self._guard = guard or HostGuard()
        self._own = own
        self._own_labels = () if own is None else own.labels
        self._processes: dict[str, Session] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    @property
    def labels(self) -> list[str]:
        """The labels that requests may name without a URL."""
        return [*self._own_labels, *self._operators.by_label]

    def with_defaults(self, tool: JSON) -> JSON:
        """Return a tool of a request; calls of the operator's own tools need no approval by default."""
        is_own = tool.get("server_url") is None and tool["server_label"] in self._own_labels
        if not is_own or tool.get("require_approval") is not None:
            return tool
        return {**tool, "require_approval": "never"}

    def find(
        self,
        project: str,
        tool: Mapping[str, Any],
        secrets: Secrets | None = None,
        conversation: str = "",
    ) -> Server:
        """Return the server that a tool of a request means; ToolRefused."""
        label, url = tool["server_label"], tool.get("server_url")
        for name in ("connector_id", "tunnel_id"):
            if tool.get(name) is not None:
                message = f"This server has no connectors: name the MCP server by 'server_url', not '{name}'."
                raise ToolRefused(message, name)
        if url is not None:
            checked_url(url, self._guard)
            return RemoteServer(label, url, secrets.sent if secrets else {}, self._guard)
        own = None if self._own is None else self._own.find(label, project, conversation)
        found = own or self._operators.find(label, project)
        if found is None:
            message = f"The tool needs a 'server_url': the operator has defined no server '{label}'."
            raise ToolRefused(message, "server_url")
        return found

    async def open(self, server: Server) -> ServerSession:
        """Return an open session, which `release` ends; ServerFailed."""
        if not isinstance(server, RemoteServer | ProcessServer):
            return server
        sessions = await asyncio.to_thread(import_module, "inference.mcp.sessions")
        if isinstance(server, RemoteServer):
            session: Session = sessions.Session(server)
            await session.open()
            return session
        async with self._locks.setdefault(server.label, asyncio.Lock()):
            running = self._processes.get(server.label)
            if running is not None and running.is_open:
                return running
            if running is not None:
                log.warning("mcp_server_lost", label=server.label)
                await running.close()
            self._processes[server.label] = started = sessions.Session(server)
            await started.open()
            return started  # type: ignore[no-any-return]

    async def release(self, session: ServerSession) -> None:
        """End a session; those of processes stay open for the next request."""
        if session not in self._processes.values():
            await session.close()

    async def close(self) -> None:
        """End the operator's processes, and close the connections of his tools."""
        if self._own is not None:
            await self._own.close()
        sessions, self._processes = [*self._processes.values()], {}
        await asyncio.gather(*(session.close() for session in sessions))
