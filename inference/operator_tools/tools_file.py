"""The operator's file of tools. `tools.example.yaml` shows every key."""

import re
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import jsonschema_rs
from pydantic import Field

from inference.errors import ToolsRefused
from inference.gateway.http.web_client import WebClient
from inference.gateway.routing.targets import is_secret
from inference.mcp.servers import INVALID_LABEL, LABEL, fault_of_url
from inference.operator_tools.tools import (
    SECONDS,
    THREADS,
    CallContext,
    Function,
    HttpTool,
    OperatorTool,
    PythonTool,
    ToolServer,
)
from inference.yaml_file import Entry, Where, YamlFile
from persistence.types import JSON

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ToolEntry(Entry):
    """A tool: a Python function or an endpoint."""

    description: Annotated[str, Field(min_length=1, max_length=4000)]
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    python: str | None = None
    url: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    timeout: Annotated[float, Field(gt=0, le=3600)] = SECONDS


class ToolsetEntry(Entry):
    """The tools of one label, and the projects that may use them; None for all."""

    tools: Annotated[dict[str, ToolEntry], Field(min_length=1)]
    projects: list[str] | None = None


class _File(Entry):
    toolsets: dict[str, ToolsetEntry]


@dataclass(frozen=True, slots=True)
class OperatorTools:
    """The operator's tools by label, and what their calls share."""

    servers: Mapping[str, ToolServer] = field(default_factory=dict)
    projects: Mapping[str, frozenset[str]] = field(default_factory=dict)
    client: WebClient = field(default_factory=WebClient)

    @classmethod
    def from_file(cls, path: Path, environment: Mapping[str, str]) -> "OperatorTools":
        """Read a file; ToolsRefused names the file, the line and the reason.

        Python modules may be beside the file.
        """
        document = YamlFile.read(path, environment, ToolsRefused)
        folder = str(path.resolve().parent)
        if folder not in sys.path:
            sys.path.append(folder)
        client, threads = WebClient(), ThreadPoolExecutor(THREADS, "operator-tools")
        servers: dict[str, ToolServer] = {}
        projects: dict[str, frozenset[str]] = {}
        for label, entry in document.parsed(_File).toolsets.items():
            if not LABEL.fullmatch(label):
                raise document.refused(("toolsets", label), INVALID_LABEL)
            tools = {}
            for name, tool in entry.tools.items():
                where: Where = ("toolsets", label, "tools", name)
                _check(document, where, name, tool)
                tools[name] = _tool(document, where, name, tool, client, threads)
            servers[label] = ToolServer(label, tools)
            if entry.projects is not None:
                projects[label] = frozenset(entry.projects)
        return cls(servers, projects, client)

    @property
    def labels(self) -> list[str]:
        """All labels."""
        return [*self.servers]

    def find(self, label: str, project: str, conversation: str = "") -> ToolServer | None:
        """Return the tools of a label for the calls of a project, None if it may not use them."""
        server = self.servers.get(label)
        if server is None or project not in self.projects.get(label, (project,)):
            return None
        return ToolServer(label, server.tools, CallContext(project, conversation))

    async def close(self) -> None:
        """Close every connection."""
        await self.client.close()


def _tool(
    document: YamlFile,
    where: Where,
    name: str,
    entry: ToolEntry,
    client: WebClient,
    threads: ThreadPoolExecutor,
) -> OperatorTool:
    if entry.url is not None:
        return HttpTool(
            name, entry.description, entry.parameters, entry.timeout, entry.url, entry.headers, client
        )
    function = _function(document, (*where, "python"), entry.python or "")
    return PythonTool(name, entry.description, entry.parameters, entry.timeout, function, threads)


def _check(document: YamlFile, where: Where, name: str, entry: ToolEntry) -> None:
    if not NAME.fullmatch(name):
        raise document.refused(where, "a name is up to 64 letters, digits, '-' and '_'")
    if (entry.url is None) == (entry.python is None):
        raise document.refused(where, "needs either 'python' or 'url'")
    if entry.headers and entry.url is None:
        raise document.refused((*where, "headers"), "belongs to a tool with 'url'")
    if reason := _fault_of_schema(entry.parameters):
        raise document.refused((*where, "parameters"), reason)
    if entry.url is not None and (reason := fault_of_url(entry.url)):
        raise document.refused((*where, "url"), reason)
    for header, value in entry.headers.items():
        here = (*where, "headers", header)
        if "\n" in value or "\r" in value or not NAME.fullmatch(header):
            raise document.refused(here, "is not a header that can be sent")
        if is_secret(header, value):
            document.refuse_written_secret(here)


def _fault_of_schema(schema: JSON) -> str:
    """Return what is wrong with a schema, "" if nothing is."""
    if schema.get("type") != "object":
        return "is not the schema of an object; begin it with 'type: object'"
    try:
        jsonschema_rs.meta.validate(schema)
        jsonschema_rs.Draft202012Validator(schema)
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as exc:
        return f"is not a JSON schema: {getattr(exc, 'message', exc)}"
    return ""


def _function(document: YamlFile, where: Where, path: str) -> Function:
    """Return the function that `package.module:function` names."""
    module, _, name = path.partition(":")
    if not module or not name:
        raise document.refused(where, f"'{path}' is not of the form package.module:function")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as exc:  # the operator's module may raise anything
        reason = f"'{path}' cannot be imported: {type(exc).__name__}: {exc}"
        raise document.refused(where, reason) from exc
    if not callable(found):
        raise document.refused(where, f"'{path}' is not a function")
    function: Function = found
    return function
