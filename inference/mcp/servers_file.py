"""The operator's file of MCP servers, which requests name by label. `mcp.example.yaml` shows every key."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from inference.errors import MCPServersRefused
from inference.gateway.routing.targets import is_secret
from inference.mcp.servers import (
    CALL_SECONDS,
    INVALID_LABEL,
    LABEL,
    ProcessServer,
    RemoteServer,
    Server,
    fault_of_url,
)
from inference.yaml_file import Entry, Where, YamlFile

BEARER = "Bearer "


class ServerEntry(Entry):
    """A server: one with a URL is asked over HTTP, one with a command is a process of each worker."""

    url: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    authorization: str | None = None
    command: str | None = None
    args: list[str] = Field(default_factory=list)
    env: dict[str, str] = Field(default_factory=dict)
    cwd: str | None = None
    projects: list[str] | None = None
    timeout: Annotated[float, Field(gt=0, le=3600)] = CALL_SECONDS


class _File(Entry):
    servers: dict[str, ServerEntry]


@dataclass(frozen=True, slots=True)
class OperatorServer:
    """A server of the file, and the projects that may use it; None for all."""

    server: Server
    projects: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class OperatorServers:
    """The operator's servers by label."""

    by_label: Mapping[str, OperatorServer] = field(default_factory=dict)

    @classmethod
    def from_file(cls, path: Path, environment: Mapping[str, str]) -> "OperatorServers":
        """Read a file; MCPServersRefused names the file, the line and the reason."""
        document = YamlFile.read(path, environment, MCPServersRefused)
        found = {}
        for label, entry in document.parsed(_File).servers.items():
            where: Where = ("servers", label)
            if reason := _fault(label, entry):
                raise document.refused(where, reason)
            for place in _secrets(entry):
                document.refuse_written_secret((*where, *place))
            projects = None if entry.projects is None else frozenset(entry.projects)
            found[label] = OperatorServer(_server(label, entry), projects)
        return cls(found)

    def find(self, label: str, project: str) -> Server | None:
        """Return the server of a label that a project may use, or None."""
        found = self.by_label.get(label)
        if found is None or (found.projects is not None and project not in found.projects):
            return None
        return found.server


def bearer(authorization: str) -> dict[str, str]:
    """Return the header of an access token."""
    return {"authorization": BEARER + authorization.removeprefix(BEARER)}


def _server(label: str, entry: ServerEntry) -> Server:
    if entry.command is not None:
        return ProcessServer(label, entry.command, (*entry.args,), entry.env, entry.cwd, entry.timeout)
    headers = entry.headers | (bearer(entry.authorization) if entry.authorization else {})
    return RemoteServer(label, entry.url or "", headers, seconds=entry.timeout)


def _fault(label: str, entry: ServerEntry) -> str:
    """Return what is wrong with a server, "" if nothing is."""
    if not LABEL.fullmatch(label):
        return INVALID_LABEL
    if (entry.url is None) == (entry.command is None):
        return "needs either 'url' or 'command'"
    misplaced = ("args", "env", "cwd") if entry.command is None else ("headers", "authorization")
    for name in misplaced:
        value: Any = getattr(entry, name)
        if value:
            return f"'{name}' belongs to a server with {'command' if entry.command is None else 'url'!r}"
    fault = "" if entry.url is None else fault_of_url(entry.url)
    return fault and f"'url' {fault}"


def _secrets(entry: ServerEntry) -> Iterator[tuple[str, ...]]:
    """Yield where an entry has a secret."""
    if entry.authorization:
        yield ("authorization",)
    for key in ("headers", "env"):
        for name, value in getattr(entry, key).items():
            if is_secret(name, value):
                yield key, name
