"""What a run does before its model is asked."""

import pytest

from inference.engine.errors import ApprovalUnreadable
from inference.engine.events import OPENED, Event, ItemFinished, TurnFinished
from inference.engine.items import APPROVAL_REQUEST, APPROVE, DENY, Call
from inference.engine.opening import NO_SUCH_TOOL, UNKNOWN_OUTCOME, opening_turn, submitted_output
from inference.engine.state import ApprovedCall, RunState, Settings
from inference.engine.tools import Emit, Listing, Tool, Toolbox, ToolResult
from inference.errors import InferenceError
from persistence.types import JSON

DETAILS = {"server_label": "a", "name": "go"}
APPROVED = ApprovedCall("mcpr_1", "a__go", '{"x": 1}', DETAILS)
SETTINGS = Settings("m", "", 0.0, approved=(APPROVED,))


class Go(Tool):
    """A tool that notes its calls."""

    item_type = "mcp_call"

    def __init__(self, listing: Listing | None = None) -> None:
        self.listing = listing
        self.calls: list[str] = []

    def definitions(self) -> list[JSON]:
        return [{"type": "function", "function": {"name": "a__go"}}]

    async def run(self, call: Call, emit: Emit) -> ToolResult:
        self.calls.append(str(call.arguments))
        return ToolResult("went", call.details)


async def opened(state: RunState, tool: Tool | None, *, taken_over: bool = False) -> list[Event]:
    tools = Toolbox([] if tool is None else [("mcp", tool)])
    events = []
    async for event in opening_turn(SETTINGS, state, tools, is_taken_over=taken_over):
        state.apply(event)
        events.append(event)
    return events


async def test_an_approved_call_is_run_once() -> None:
    state, tool = RunState(), Go()
    events = await opened(state, tool)
    assert tool.calls == ['{"x": 1}']
    assert isinstance(events[-1], TurnFinished)
    assert events[-1].finish == OPENED
    (call,) = state.turns[0].calls
    assert (call.output, call.details) == ("went", {**DETAILS, "approval_request_id": "mcpr_1"})
    assert [message["role"] for message in state.turns[0].to_messages()] == ["assistant", "tool"]
    restored = RunState.from_json(state.to_json())
    assert await opened(restored, tool) == []


async def test_a_call_that_a_lost_worker_may_have_run_is_not_repeated() -> None:
    state, tool = RunState(), Go()
    await opened(state, tool, taken_over=True)
    assert tool.calls == []
    (call,) = state.turns[0].calls
    assert (call.status, call.output) == ("failed", UNKNOWN_OUTCOME)


async def test_an_approved_call_of_a_tool_that_is_gone_fails() -> None:
    state = RunState()
    await opened(state, None)
    (call,) = state.turns[0].calls
    assert (call.type, call.status, call.output) == ("mcp_call", "failed", NO_SUCH_TOOL)


async def test_a_list_that_failed_is_shown_and_ends_the_run() -> None:
    state = RunState()
    events: list[Event] = []
    tools = Toolbox(
        [("mcp", Go(Listing({"server_label": "a", "tools": [], "error": "gone"}, InferenceError("gone"))))]
    )
    with pytest.raises(InferenceError, match="gone"):
        async for event in opening_turn(SETTINGS, state, tools, is_taken_over=False):
            state.apply(event)
            events.append(event)
    assert isinstance(events[-1], ItemFinished)
    assert events[-1].status == "failed"


@pytest.mark.parametrize(
    ("said", "output"),
    [
        ("approve", APPROVE),
        (" Approve ", APPROVE),
        ('"deny"', DENY),
        ('{"approve": true}', APPROVE),
        ('{"approve": false, "reason": "no"}', DENY),
    ],
)
def test_approvals_are_words_or_json(said: str, output: str) -> None:
    assert submitted_output(Call("fc_1", APPROVAL_REQUEST, "call_1", "a__go"), said) == output


@pytest.mark.parametrize("said", ["", "yes", "{}", '{"approve": "true"}', "[1]", "null", "true"])
def test_other_answers_are_no_approvals(said: str) -> None:
    with pytest.raises(ApprovalUnreadable, match="call_1"):
        submitted_output(Call("fc_1", APPROVAL_REQUEST, "call_1", "a__go"), said)


def test_outputs_of_functions_stay_as_they_are() -> None:
    assert submitted_output(Call("fc_1", "function_call", "call_1", "f"), " Approve ") == " Approve "
