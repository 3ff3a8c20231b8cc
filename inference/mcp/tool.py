"""The tool `mcp`: the tools of an MCP server, as functions of the model."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import structlog

from inference.engine.errors import ToolRefused
from inference.engine.items import Call
from inference.engine.tools import Emit, Listing, Tool, ToolContext, ToolResult, ToolType
from inference.gateway.secrets_filter import secrets_filter
from inference.images import SeenImages
from inference.mcp.errors import ServerFailed, ToolListFailed
from inference.mcp.pool import MCPServers, Secrets
from inference.mcp.results import cut
from inference.mcp.servers import INVALID_LABEL, LABEL, ProcessServer, RemoteServer, Server, ServerSession
from inference.mcp.thread_lists import ThreadLists, list_key
from inference.responses.function_names import function_name
from persistence.types import JSON

LISTED = "mcp_list_tools"
INVALID_PARAMS = -32602

READ_TEXT = 1024 * 1024
"""Characters of the results of one server in a run: they are part of its state, and of a response's items."""

log = structlog.get_logger("astrolabe.mcp")


class MCPType(ToolType):
    """The type mcp; `reads_images` returns whether a model is known to read images."""

    def __init__(self, servers: MCPServers, reads_images: Callable[[str], bool]) -> None:
        self._servers = servers
        self._reads_images = reads_images
        self._thread_lists = ThreadLists()

    async def check(self, project: str, entry: JSON) -> None:
        """Raise ToolRefused for a server that cannot be asked."""
        options = entry["mcp"]
        if not LABEL.fullmatch(options["server_label"]):
            message = f"Invalid 'server_label': '{options['server_label'][:100]}'; {INVALID_LABEL}."
            raise ToolRefused(message, "server_label")
        self._servers.find(project, options)

    async def make(self, context: ToolContext) -> Tool:
        """Return the tool of a run, with the server's list of tools: the conversation's, or a new one."""
        options = self._servers.with_defaults(context.tool["mcp"])
        label = options["server_label"]
        sent = context.caller.servers.get(label) if context.caller is not None else None
        secrets = None if sent is None else Secrets(sent.get("authorization"), sent.get("headers") or {})
        server = self._servers.find(context.project, options, secrets, context.conversation)
        sees_images = self._reads_images(context.model)
        tool = MCPTool(self._servers, server, options, sees_images=sees_images)
        is_thread = context.conversation.startswith("thread_")
        key = list_key(context.project, context.conversation, label, server)
        known = _known_list(context.earlier, label) or self._thread_lists.find(key)
        if known is not None and tool.allows_only(known):
            tool.set_tools(known)
            return tool
        try:
            listed = await tool.list_tools()
        except BaseException:
            await tool.close()
            raise
        if is_thread and listed is not None:
            self._thread_lists.keep(key, listed)
        return tool


class MCPTool(Tool):
    """The tools of one server in one run. Its session is opened when it is needed, and kept to the end."""

    item_type = "mcp_call"

    def __init__(
        self, servers: MCPServers, server: Server, options: Mapping[str, Any], *, sees_images: bool
    ) -> None:
        self._servers = servers
        self._server = server
        self._secrets = secrets_filter(server.secrets if isinstance(server, RemoteServer) else ())
        self._label: str = options["server_label"]
        self._description: str = options.get("server_description") or ""
        self._allowed = options.get("allowed_tools")
        self._approval = options.get("require_approval") or "always"
        self._seen = SeenImages(sees_images=sees_images)
        self._room_for_text = READ_TEXT
        self._tools: dict[str, JSON] = {}
        self._session: ServerSession | None = None
        self._opening = asyncio.Lock()

    # --- the list ---

    def allows_only(self, known: list[JSON]) -> bool:
        """Return whether all tools that the request names are among those of a list."""
        names = self._allowed if isinstance(self._allowed, list) else (self._allowed or {}).get("tool_names")
        return {*(names or ())} <= {tool["name"] for tool in known}

    def set_tools(self, tools: list[JSON]) -> None:
        """Set the server's tools; those that the request does not allow are left out."""
        allowed = (tool for tool in tools if self._allowed is None or _fits(self._allowed, tool))
        self._tools = {function_name(tool["name"], self._label): tool for tool in allowed}

    async def list_tools(self) -> list[JSON] | None:
        """Ask the server for its tools, and have the run show them; a failure, None, ends the run there."""
        failure, error, listed = None, None, None
        try:
            listed = self._secrets.value(await self._listed())
            self.set_tools(listed)
        except ServerFailed as exc:
            exc.message = self._secrets.text(exc.message)
            failure, error = ToolListFailed(self._label, exc), exc.message
            log.warning("mcp_list_failed", label=self._label, status=exc.status, error=exc.message)
        details = {"server_label": self._label, "tools": [*self._tools.values()], "error": error}
        self.listing = Listing(details, failure)
        return listed

    async def _listed(self) -> list[JSON]:
        """Return the server's tools; a process of the operator that has just died is started again."""
        session = await self._opened()
        try:
            return await session.list_tools()
        except ServerFailed:
            if session.is_open or not isinstance(self._server, ProcessServer):
                raise
        return await (await self._opened()).list_tools()

    # --- functions ---

    def definitions(self) -> list[JSON]:
        """Return the server's tools as functions."""
        return [self._definition(name, tool) for name, tool in self._tools.items()]

    def _definition(self, name: str, tool: JSON) -> JSON:
        about = f"(Server '{self._label}': {self._description})" if self._description else ""
        description = "\n".join(filter(None, (tool.get("description"), about)))
        parameters = {"properties": {}, **tool["input_schema"], "type": "object"}
        return {
            "type": "function",
            "function": {"name": name, "description": description, "parameters": parameters},
        }

    def details(self, name: str) -> JSON:
        """Return the server's label and the tool's own name."""
        return {"server_label": self._label, "name": self._tools[name]["name"]}

    def needs_approval(self, name: str) -> bool:
        """Return whether the request wants to approve calls of a function's tool."""
        if isinstance(self._approval, str):
            return self._approval == "always"
        tool = self._tools[name]
        for rule in ("always", "never"):
            if rule in self._approval and _fits(self._approval[rule], tool):
                return rule == "always"
        return True

    def chosen(self, choice: JSON) -> list[str]:
        """Return the functions that a choice of the server, or of one of its tools, means."""
        if choice.get("server_label") not in (None, self._label):
            return []
        name = choice.get("name")
        return [function for function, tool in self._tools.items() if name in (None, tool["name"])]

    # --- calls ---

    async def run(self, call: Call, emit: Emit) -> ToolResult:
        """Call the server's tool; whatever goes wrong is for the model to read."""
        written = str(call.arguments) or "{}"
        emit("arguments.done", {"arguments": written})
        try:
            arguments = orjson.loads(written)
        except ValueError:
            arguments = None
        if not isinstance(arguments, dict):
            message = "The arguments are not a JSON object."
            error = {"type": "mcp_protocol_error", "code": INVALID_PARAMS, "message": message}
            return ToolResult(message, call.details, error)
        try:
            result = await (await self._opened()).call(call.details["name"], arguments)
        except ServerFailed as exc:
            exc.message = self._secrets.text(exc.message)
            log.warning("mcp_call_failed", label=self._label, status=exc.status, error=exc.message)
            return ToolResult(f"The call failed: {exc.message}", call.details, exc.error)
        images = self._seen.choose(result.images)
        text = self._read(result.text, len(result.images) - len(images))
        if not result.is_error:
            return ToolResult(text, call.details, images=images)
        error = {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": text}]}
        return ToolResult(text or "The tool failed.", call.details, error, images)

    def _read(self, text: str, unseen: int) -> str:
        """Return what the model gets to read of a result's text."""
        text = cut(self._secrets.text(text), self._room_for_text)
        self._room_for_text = max(0, self._room_for_text - len(text))
        note = f"[Images of the result that cannot be shown: {unseen}.]" if unseen else ""
        return "\n".join(filter(None, (text, note)))

    async def _opened(self) -> ServerSession:
        async with self._opening:
            if self._session is not None and not self._session.is_open:
                await self.close()
            if self._session is None:
                self._session = await self._servers.open(self._server)
            return self._session

    async def close(self) -> None:
        """End the session."""
        session, self._session = self._session, None
        if session is not None:
            await self._servers.release(session)


def _known_list(earlier: tuple[JSON, ...], label: str) -> list[JSON] | None:
    """Return the newest list of a server's tools that the conversation has."""
    for item in reversed(earlier):
        if item["type"] == LISTED and item["server_label"] == label and not item.get("error"):
            tools: list[JSON] = item["tools"]
            return tools
    return None


def _fits(allowed: list[str] | JSON, tool: JSON) -> bool:
    """Return whether a tool is among those of a list of names or of a filter."""
    if isinstance(allowed, list):
        return tool["name"] in allowed
    names, read_only = allowed.get("tool_names"), allowed.get("read_only")
    hint = (tool.get("annotations") or {}).get("readOnlyHint") is True
    return (names is None or tool["name"] in names) and (read_only is None or hint == read_only)
