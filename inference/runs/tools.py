"""Tools that the server itself runs for a model, beside the functions that a caller runs."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call gave: the text that the model reads, and the details that the step shows.

    `details` is the value of the call's own key in the step, such as
    `{"ranking_options": …, "results": […]}` for file_search.
    """

    output_for_model: str
    details: JSON = field(default_factory=dict)


class ServerTool(Protocol):
    """One tool of one run."""

    def definition(self) -> JSON:
        """The function as the model sees it: `{"type": "function", "function": {"name", …}}`."""

    async def call(self, arguments: str) -> ToolResult:
        """Run it; `arguments` is what the model wrote, JSON or not. Bad ones are told to the model."""

    def annotate(self, text: str) -> list[JSON]:
        """The annotations of an answer's text so far, in order, each with start_index and end_index.

        Called whenever a citation mark (`【…】`) has ended; those of a prefix stay as they are.
        """


@dataclass(frozen=True, slots=True)
class Workplace:
    """What a run offers to its tools.

    `model` is the run's, `tool` the tool's entry in the run, `resources` the `tool_resources` of the
    assistant and of the thread, in this order; `results` are the details of the earlier calls of this
    tool in the run, so that marks in the answer can be matched with what was found.
    """

    project: str
    run: str
    model: str
    tool: JSON
    resources: tuple[JSON, ...]
    results: tuple[JSON, ...] = ()


ToolFactory = Callable[[Workplace], Awaitable[ServerTool]]
"""Makes the tool of one run, at the start of each leg of it."""

ToolFactories = Mapping[str, ToolFactory]
"""By type: "file_search", "code_interpreter"."""
