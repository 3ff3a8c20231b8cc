"""Tools that the server runs for a model; functions are run by the caller."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from inference.engine.errors import ToolUnavailable
from inference.engine.items import Call
from inference.errors import FieldError, InferenceError
from inference.gateway import CallerSettings
from persistence.types import JSON

VERSION = re.compile(r"(_preview)?(_\d{4}_\d{2}_\d{2})?$")
"""The end of the name of a type, such as `web_search_preview_2025_03_11`, that says its version."""

CALLERS = frozenset({"function"})
"""Types of a run's entries that the caller runs."""

Emit = Callable[[str, JSON], None]
"""Reports progress of a call: a phase (`searching`, `in_progress`, `output`, `log`, `file`) and its data."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call.

    `output` is the text for the model, `images` are data URLs of images that it gets to see. `details` are
    what the call's item shows; `error` is why the call failed, if it did.
    """

    output: str
    details: JSON = field(default_factory=dict)
    error: JSON | None = None
    images: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Citation:
    """The annotation of a mark in an answer; `text` replaces the mark, if it is not None.

    The annotation has the members of the Assistants API: `type`, `text`, `start_index`, `end_index` and
    the type's own.
    """

    annotation: JSON
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of tools to be shown; with `failure` they could not be listed, and the run ends."""

    details: JSON
    failure: InferenceError | None = None


class Tool:
    """One tool of one run; its calls are items of the type `item_type`."""

    item_type: str

    listing: Listing | None = None
    """What the run shows of the tool ahead of the model's items, unless its conversation has it already."""

    def definitions(self) -> list[JSON]:
        """Return the functions that the model sees: `{"type": "function", "function": {"name", ...}}`."""
        raise NotImplementedError

    def details(self, name: str) -> JSON:  # noqa: ARG002 - of the interface
        """Return what the item of a call of that function shows from its beginning."""
        return {}

    def needs_approval(self, name: str) -> bool:  # noqa: ARG002 - of the interface
        """Return whether a call of that function is run only after the caller has approved it."""
        return False

    def chosen(self, choice: JSON) -> list[str]:  # noqa: ARG002 - of the interface
        """Return the functions of which a tool choice of this type forces one."""
        return [definition["function"]["name"] for definition in self.definitions()][:1]

    async def close(self) -> None:
        """Close what the tool has opened."""

    async def run(self, call: Call, emit: Emit) -> ToolResult:
        """Run a call. Errors in its arguments go into the output, for the model."""
        raise NotImplementedError

    def cite(self, mark: str, start: int, before: str) -> Citation | None:  # noqa: ARG002 - of the interface
        """Return the citation of a mark in an answer, None for a mark of another tool.

        A mark is `【…】` or the path of a file, `sandbox:/mnt/data/…`. `start` is its offset in characters,
        `before` the text before it (some hundred characters).
        """
        return None


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool knows of its run.

    `tool` is the tool's entry in the run, `resources` are the run's tool resources. `results` are the details
    of the tool's earlier calls in the run, to which citation marks refer. `caller` are the provider settings
    of the run's caller. `conversation` is the id of the thread, the conversation or the chain of responses
    that the run continues, "" for none. `earlier` are the items of tools in the run's context, the oldest
    first, where the API has such items. `images` are the URLs of the context's images in their order, `file:`
    and an id for a file of the project; they are there for the tools that edit them. `messages` are the
    conversation before the run, as chat messages. A run that is not `is_stored` must leave nothing in the
    store.
    """

    project: str
    run: str
    model: str
    tool: JSON
    resources: tuple[JSON, ...]
    results: tuple[JSON, ...] = ()
    caller: CallerSettings | None = None
    conversation: str = ""
    earlier: tuple[JSON, ...] = ()
    images: tuple[str, ...] = ()
    is_stored: bool = True
    messages: Sequence[JSON] = ()


class ToolType:
    """A type of tools that the server runs: checks the entries of requests, and makes the tools of runs."""

    async def check(self, project: str, entry: JSON) -> None:
        """Raise a FieldError for an entry that a new run cannot use."""

    async def make(self, context: ToolContext) -> Tool:
        """Return the tool of one attempt at a run; an InferenceError ends the run."""
        raise NotImplementedError


ToolTypes = Mapping[str, ToolType]
"""By the type of a run's entry: "file_search", "code_interpreter"."""


def tool_entry(tool: JSON) -> JSON:
    """Return a request's tool as tool types read it: its type, and its options under the type's name."""
    type = plain_type(tool["type"])
    if isinstance(tool.get(type), dict):
        return tool
    return {"type": type, type: {name: value for name, value in tool.items() if name != "type"}}


def plain_type(type: str) -> str:
    """Return a type of tools without its version."""
    return VERSION.sub("", type)


async def check_tools(
    types: ToolTypes,
    project: str,
    tools: Sequence[JSON],
    is_run_here: Callable[[JSON], bool] = lambda tool: tool["type"] not in CALLERS,
) -> None:
    """Raise a FieldError for the first of a request's `tools` that the server cannot run."""
    for index, tool in enumerate(tools):
        if not is_run_here(tool):
            continue
        entry = tool_entry(tool)
        try:
            if entry["type"] not in types:
                raise ToolUnavailable(tool["type"])
            await types[entry["type"]].check(project, entry)
        except FieldError as exc:
            exc.put_below(f"tools[{index}]")
            raise


class Toolbox:
    """The tools of one run, each with the type of its entry, by the names of their functions.

    A run may have several tools of one type. Of functions with the same name, the first tool runs its own.
    """

    def __init__(self, tools: Sequence[tuple[str, Tool]]) -> None:
        self._tools = tools
        self._by_name: dict[str, Tool] = {}
        self.definitions: list[JSON] = []
        for _, tool in tools:
            for definition in tool.definitions():
                if self._by_name.setdefault(definition["function"]["name"], tool) is tool:
                    self.definitions.append(definition)

    def __bool__(self) -> bool:
        return bool(self._tools)

    def find(self, name: str) -> Tool | None:
        """Return the tool that runs a function; None for a function of the caller."""
        return self._by_name.get(name)

    def chosen(self, choice: JSON) -> list[str]:
        """Return the functions that a tool choice means, such as `{"type": "file_search"}`."""
        tools = (tool for type, tool in self._tools if type == plain_type(choice["type"]))
        return [name for tool in tools for name in tool.chosen(choice)]

    @property
    def lists(self) -> list["Listing"]:
        """What the run shows of its tools ahead of the model's items."""
        return [tool.listing for _, tool in self._tools if tool.listing is not None]

    async def aclose(self) -> None:
        """Close what the tools have opened."""
        for _, tool in self._tools:
            await tool.close()

    def cite(self, mark: str, start: int, before: str) -> Citation | None:
        """Return the citation of a mark, from the tool that it belongs to."""
        made = (tool.cite(mark, start, before) for _, tool in self._tools)
        return next((citation for citation in made if citation is not None), None)
