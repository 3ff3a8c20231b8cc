"""Tools that the server runs for a model; functions are run by the caller."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from inference.engine.items import Call
from inference.gateway import CallerSettings
from persistence.types import JSON

Emit = Callable[[str, JSON], None]
"""Reports progress of a call: a phase (`searching`, `in_progress`, `output`, `log`, `file`) and its data."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call: the text for the model, and the details that the call's item shows."""

    output: str
    details: JSON = field(default_factory=dict)


class Tool(Protocol):
    """One tool of one run; its calls are items of the type `item_type`."""

    item_type: str

    def definitions(self) -> list[JSON]:
        """Return the functions that the model sees: `{"type": "function", "function": {"name", ...}}`."""

    async def run(self, call: Call, emit: Emit) -> ToolResult:
        """Run a call. Errors in its arguments go into the output, for the model."""

    def cite(self, mark: str, start: int, before: str) -> JSON | None:
        """Return the annotation of a citation mark in an answer, None for a mark of another tool.

        `start` is the mark's offset in characters, `before` the text before it (some hundred characters).
        """


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool knows of its run.

    `tool` is the tool's entry in the run, `resources` are the run's tool resources. `results` are the details
    of the tool's earlier calls in the run, to which citation marks refer. `caller` are the provider settings
    of the run's caller.
    """

    project: str
    run: str
    model: str
    tool: JSON
    resources: tuple[JSON, ...]
    results: tuple[JSON, ...] = ()
    caller: CallerSettings | None = None


ToolFactory = Callable[[ToolContext], Awaitable[Tool]]
"""Creates a tool for one attempt at a run."""

ToolFactories = Mapping[str, ToolFactory]
"""By the type of a run's entry: "file_search", "code_interpreter"."""


class Toolbox:
    """The tools of one run, by the names of their functions."""

    def __init__(self, tools: Mapping[str, Tool]) -> None:
        self._types = tools
        self._by_name = {
            definition["function"]["name"]: tool
            for tool in tools.values()
            for definition in tool.definitions()
        }
        self.definitions = [each for tool in tools.values() for each in tool.definitions()]

    def __bool__(self) -> bool:
        return bool(self._types)

    def find(self, name: str) -> Tool | None:
        """Return the tool that runs a function; None for a function of the caller."""
        return self._by_name.get(name)

    def function_of(self, type: str) -> str | None:
        """Return the name of the first function of a type of tools."""
        tool = self._types.get(type)
        return tool.definitions()[0]["function"]["name"] if tool else None

    def cite(self, mark: str, start: int, before: str) -> JSON | None:
        """Return the annotation of a mark, from the tool that it belongs to."""
        made = (tool.cite(mark, start, before) for tool in self._types.values())
        return next((annotation for annotation in made if annotation is not None), None)
