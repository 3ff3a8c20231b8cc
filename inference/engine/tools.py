"""Tools that the server itself runs for a model, beside the functions that a caller runs."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from inference.engine.items import Call
from persistence.types import JSON

Emit = Callable[[str, JSON], None]
"""Tells how far a call is: a phase (`searching`, `in_progress`, `output`, `log`, `file`) and its data."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call gave: the text that the model reads, and the details that the call's item shows."""

    output: str
    details: JSON = field(default_factory=dict)


class Tool(Protocol):
    """One tool of one run; `item_type` is the type of the items that its calls are."""

    item_type: str

    def definitions(self) -> list[JSON]:
        """Return the functions that the model sees: `{"type": "function", "function": {"name", ...}}`."""

    async def run(self, call: Call, emit: Emit) -> ToolResult:
        """Run a call; what is wrong with its arguments is told to the model in the output."""

    def cite(self, mark: str, start: int, before: str) -> JSON | None:
        """Return the annotation of a citation mark of an answer, None for one that is not this tool's.

        `start` is the mark's offset in characters, `before` the text ahead of it, some hundred characters.
        """


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a run offers to its tools.

    `tool` is the tool's entry in the run, `resources` what the run may use, `results` the details of the
    earlier calls of this tool in the run, so that marks in the answer can be matched with what was found.
    """

    project: str
    run: str
    model: str
    tool: JSON
    resources: tuple[JSON, ...]
    results: tuple[JSON, ...] = ()


ToolFactory = Callable[[ToolContext], Awaitable[Tool]]
"""Makes a tool for one attempt at a run."""

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
        """Return the tool that runs a function; None for a function of the caller's."""
        return self._by_name.get(name)

    def function_of(self, type: str) -> str | None:
        """Return the name of the first function of a type of tools."""
        tool = self._types.get(type)
        return tool.definitions()[0]["function"]["name"] if tool else None

    def cite(self, mark: str, start: int, before: str) -> JSON | None:
        """Return the annotation of a mark by the tool that made it."""
        made = (tool.cite(mark, start, before) for tool in self._types.values())
        return next((annotation for annotation in made if annotation is not None), None)
