"""What a run does before its model is asked: it shows lists of tools, and runs approved calls."""

import time
from collections.abc import AsyncGenerator, Iterator

import orjson

from inference.engine.calls import run_calls
from inference.engine.errors import ApprovalUnreadable
from inference.engine.events import OPENED, Event, ItemDelta, ItemFinished, TurnFinished, TurnStarted, started
from inference.engine.items import APPROVAL_REQUEST, APPROVE, DENY, Call, ToolList
from inference.engine.state import ApprovedCall, RunState, Settings
from inference.engine.tools import Toolbox
from inference.identifiers import new_id
from persistence.types import JSON

REQUEST_ID = "approval_request_id"
"""The detail of a call that says which request for approval it follows."""

MCP_CALL = "mcp_call"

NO_SUCH_TOOL = "The server has no such tool, or the request does not allow it any more."
UNKNOWN_OUTCOME = (
    "The call was interrupted. It is not known whether it was carried out, and it was not sent again: "
    "ask the user before you repeat it."
)


async def opening_turn(
    settings: Settings, state: RunState, tools: Toolbox, *, is_taken_over: bool
) -> AsyncGenerator[Event, None]:
    """Yield the events of a turn without the model, if there is anything to do.

    With `is_taken_over` another worker may have run the approved calls, so they are not run again. Raises the
    failure of a tool whose list could not be fetched.
    """
    calls = [*_approved_calls(settings, state, tools)]
    if not tools.lists and not calls:
        return
    yield TurnStarted(new_id("turn_"), _now())
    for listing in tools.lists:
        item = ToolList(new_id("mcpl_"), {**listing.details, "tools": [], "error": None})
        yield started(item, _now())
        status = "completed" if listing.failure is None else "failed"
        yield ItemFinished(item.id, status, _now(), details=listing.details)
        if listing.failure is not None:
            raise listing.failure
    turn = state.turns[-1]
    for call, arguments in calls:
        yield started(call, _now())
        yield ItemDelta(call.id, arguments, "arguments")
        if reason := _refusal(call, tools, is_taken_over=is_taken_over):
            error = {"type": "http_error", "code": 424, "message": reason}
            yield ItemFinished(call.id, "failed", _now(), reason, call.details, error=error)
    async for event in run_calls(turn.calls, tools):
        yield event
    yield TurnFinished(OPENED, _now())


def submitted_output(call: Call, output: str) -> str:
    """Return the output of a call that its caller submitted; ApprovalUnreadable.

    An approval is the word approve or deny, or `{"approve": true}`.
    """
    if call.type != APPROVAL_REQUEST:
        return output
    said = output.strip().strip('"').lower()
    if said in (APPROVE, DENY):
        return said
    try:
        value: JSON = orjson.loads(output)
        approve = value["approve"]
    except (ValueError, TypeError, KeyError):
        approve = None
    if not isinstance(approve, bool):
        raise ApprovalUnreadable(call.call_id)
    return APPROVE if approve else DENY


def _approved_calls(settings: Settings, state: RunState, tools: Toolbox) -> Iterator[tuple[Call, str]]:
    """Yield the calls that were approved and are not in the run yet, with their arguments."""
    done = {call.details.get(REQUEST_ID) for turn in state.turns for call in turn.calls}
    for approved in (*settings.approved, *_approved_in(state)):
        if approved.id in done:
            continue
        tool = tools.find(approved.name)
        type = MCP_CALL if tool is None else tool.item_type
        details = {**approved.details, REQUEST_ID: approved.id}
        yield Call(new_id("fc_"), type, new_id("call_"), approved.name, details=details), approved.arguments


def _approved_in(state: RunState) -> Iterator[ApprovedCall]:
    for call in (call for turn in state.turns for call in turn.calls if call.is_approved):
        yield ApprovedCall(call.call_id, call.name, str(call.arguments), call.details)


def _refusal(call: Call, tools: Toolbox, *, is_taken_over: bool) -> str:
    if tools.find(call.name) is None:
        return NO_SUCH_TOOL
    return UNKNOWN_OUTCOME if is_taken_over else ""


def _now() -> int:
    return int(time.time())
