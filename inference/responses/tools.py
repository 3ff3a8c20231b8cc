"""Tools of a request, as the functions that a chat model knows, and their calls as items."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from inference.engine.tools import plain_type
from inference.responses.function_names import function_name, hashed_name
from inference.responses.functions import CALL_TYPES, call_arguments, call_members, definition, tool_type
from inference.responses.items import ItemRefused
from inference.web.web_search import FUNCTIONS as WEB_FUNCTIONS
from persistence.types import JSON

SERVED = frozenset({"code_interpreter", "file_search", "image_generation", "mcp", "web_search"})
"""Types of tools that the server runs, without their versions."""

_NAMED = frozenset({"function", "custom"})

BROUGHT_TOOLS = frozenset({"additional_tools", "tool_search_output"})
"""Items that bring tools into a conversation."""


@dataclass(frozen=True, slots=True)
class _Function:
    """A caller's tool and its definition for the model."""

    type: str
    name: str
    namespace: str | None
    definition: JSON

    @property
    def key(self) -> tuple[str, str | None, str]:
        return self.type, self.namespace, self.name


@dataclass(slots=True)
class RequestTools:
    """The tools of a request.

    `functions` are the chat definitions of the caller's tools, `server` the entries of tools that the server
    runs, `unserved` those of tools that it knows but does not run. `choice` is chat's tool_choice, or
    `{"type": …}` for a tool of the server; None without tools.
    """

    functions: list[JSON] = field(default_factory=list)
    server: list[JSON] = field(default_factory=list)
    unserved: list[JSON] = field(default_factory=list)
    choice: Any = None
    _reserved: frozenset[str] = frozenset()
    _reserved_prefixes: tuple[str, ...] = ()
    _by_name: dict[str, _Function] = field(default_factory=dict)
    _names: dict[tuple[str, str | None, str], str] = field(default_factory=dict)

    @classmethod
    def of(cls, tools: list[JSON], tool_choice: Any, items: list[JSON]) -> "RequestTools":
        """Read a request's tools and the tools that items of its context bring; ItemRefused."""
        self = cls()
        served = SERVED.intersection(plain_type(tool["type"]) for tool in tools)
        self._reserved = served | (WEB_FUNCTIONS if "web_search" in served else frozenset())
        servers = (tool["server_label"] for tool in tools if tool["type"] == "mcp")
        self._reserved_prefixes = tuple(f"{label}__" for label in servers)
        for index, tool in enumerate(tools):
            self._add(tool, f"tools[{index}]")
        brought = (item.get("tools") or () for item in items if item["type"] in BROUGHT_TOOLS)
        for tool in (each for group in brought for each in group):
            self._add(tool, None)
        self.functions = [function.definition for function in self._by_name.values()]
        self._choose(tool_choice)
        return self

    def is_optional(self, tool: JSON) -> bool:
        """Return whether a request is answered without a tool where the server cannot run it.

        Codex offers a web search in every request; a model that is free to choose answers without it.
        """
        return self.choice in ("auto", "none") and "external_web_access" in tool

    # --- calls ---

    def item(self, name: str, arguments: str, call_id: str) -> JSON:
        """Return the output item, without id and status, of a call of a function."""
        function = self._by_name.get(name)
        if function is None:
            return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments or "{}"}
        item: JSON = {"type": CALL_TYPES[function.type], "call_id": call_id}
        if function.type in _NAMED:
            item["name"] = function.name
        if function.namespace is not None:
            item["namespace"] = function.namespace
        return item | call_members(function.type, arguments)

    def function_call(self, item: JSON) -> tuple[str, str]:
        """Return a call's item as the name of its function and the arguments."""
        type = tool_type(item)
        name, namespace = item.get("name", type), item.get("namespace")
        known = self._names.get((type, namespace, name))
        return known or function_name(name, namespace), call_arguments(item)

    # --- tools ---

    def _add(self, tool: JSON, param: str | None) -> None:
        type = tool["type"]
        if type == "namespace":
            for inner in tool["tools"]:
                self._add_function(inner, tool, param)
        elif type == "tool_search" and tool.get("execution") != "client":
            pass  # The model sees all functions from the start: there is nothing to search for.
        elif plain_type(type) in SERVED:
            self.server.append(tool)
        elif type not in CALL_TYPES or _runs_in_container(tool):
            self.unserved.append(tool)
        else:
            self._add_function(tool, None, param)

    def _add_function(self, tool: JSON, namespace: JSON | None, param: str | None) -> None:
        type = tool["type"]
        space = None if namespace is None else namespace["name"]
        own = tool["name"] if type in _NAMED else type
        if (type, space, own) in self._names:
            if param is None:
                return  # brought twice by the conversation
            raise ItemRefused(f"The tool '{own}' is given twice.", param, "invalid_value")
        name = function_name(own, space)
        if name in self._by_name or name in self._reserved or name.startswith(self._reserved_prefixes):
            name = hashed_name(name, type)
        prefix = "" if namespace is None else (namespace.get("description") or "")
        self._by_name[name] = _Function(type, own, space, definition(tool, name, prefix))
        self._names[type, space, own] = name

    # --- the choice ---

    def _choose(self, choice: Any) -> None:
        if not (self.functions or self.server or self.unserved):
            if choice not in (None, "auto", "none") and not _allows(choice):
                message = "Tool choice must be specified with the 'tools' parameter."
                raise ItemRefused(message, "tool_choice", "invalid_value")
            return
        if choice is None or isinstance(choice, str):
            self.choice = choice or "auto"
        elif choice["type"] == "allowed_tools":
            self._allow(choice["tools"])
            self.choice = choice["mode"]
        else:
            self.choice = self._forced(choice)

    def _forced(self, choice: JSON) -> JSON:
        for name in self._chosen(choice):
            return {"type": "function", "function": {"name": name}}
        if any(_is_entry(tool, choice) for tool in (*self.server, *self.unserved)):
            return choice
        shown = choice.get("name") or choice["type"]
        raise ItemRefused(f"Tool choice '{shown}' not found in 'tools' parameter.", "tool_choice")

    def _allow(self, allowed: list[JSON]) -> None:
        """Leave only the tools that are allowed; those of earlier calls keep their names."""
        for index, choice in enumerate(allowed):
            if not isinstance(choice.get("type"), str):
                param = f"tool_choice.tools[{index}].type"
                raise ItemRefused(f"Invalid type for '{param}': expected a string.", param, "invalid_type")
            entries = (*self.server, *self.unserved)
            if not any(self._chosen(choice)) and not any(_is_entry(tool, choice) for tool in entries):
                shown = choice.get("name") or choice.get("type")
                message = f"Tool choice '{shown}' not found in 'tools' parameter."
                raise ItemRefused(message, f"tool_choice.tools[{index}]")
        names = {name for choice in allowed for name in self._chosen(choice)}
        self.functions = [one for one in self.functions if one["function"]["name"] in names]
        self.server = [tool for tool in self.server if any(_is_entry(tool, one) for one in allowed)]
        self.unserved = [tool for tool in self.unserved if any(_is_entry(tool, one) for one in allowed)]

    def _chosen(self, choice: JSON) -> Iterator[str]:
        """Yield the names of the functions that a choice means."""
        type, own, space = choice.get("type"), choice.get("name"), choice.get("namespace")
        for name, function in self._by_name.items():
            if type == "namespace":
                if function.namespace == own:
                    yield name
            elif type in _NAMED:
                if function.type == type and function.name == own and space in (None, function.namespace):
                    yield name
            elif function.type == type or {function.type, type} <= _COMPUTERS:
                yield name


_COMPUTERS = frozenset({"computer", "computer_use", "computer_use_preview"})


def _allows(choice: Any) -> bool:
    """Return whether a choice forces no call."""
    return isinstance(choice, dict) and choice.get("type") == "allowed_tools" and choice["mode"] == "auto"


def _is_entry(tool: JSON, choice: JSON) -> bool:
    """Return whether a choice means a tool of the server; tools are named with and without their date."""
    type: str = choice.get("type") or ""
    if choice.get("server_label") not in (None, tool.get("server_label")):
        return False
    return bool(type) and (tool["type"].startswith(type) or type.startswith(tool["type"]))


def _runs_in_container(tool: JSON) -> bool:
    """Return whether a shell runs in a container of the server."""
    environment = tool.get("environment")
    return isinstance(environment, dict) and environment.get("type") != "local"
