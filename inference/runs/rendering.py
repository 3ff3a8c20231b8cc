"""Shows what the engine tells as the Assistants API's objects and events.

Objects and events are queued in the ledger, which writes both before anybody sees them. A *live*
leg of a run is streamed to its caller: what the model says is written and told as it comes. In any
other leg nothing is written before a turn has ended, so a worker that is lost in the middle of it
leaves nothing that anybody has seen.
"""

import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from inference.identifiers import new_id
from inference.runs import objects, transitions
from inference.runs.ledger import Ledger, Tracked
from inference.runs.said import Said
from inference.runs.state import (
    CUT_OFF,
    INCLUDE_RESULTS,
    LAST,
    STEP,
    TURN,
    TURNS,
    USAGE,
    run_label,
    turns_of,
)
from inference.runs.turns import (
    CUT_SHORT,
    FUNCTION,
    ArgumentsArrived,
    Call,
    CallBegan,
    Event,
    RefusalArrived,
    ResultArrived,
    TextArrived,
    Turn,
    TurnBegan,
    TurnEnded,
    Usage,
)
from persistence.store import Key, beside

JSON = dict[str, Any]

STEP_ENDS = {"incomplete": "failed"}
"""How a step ends that is open when the run ends in a status that steps do not have."""

CUT_OFF_ERROR = {
    "code": "server_error",
    "message": "The server was interrupted in this step; the run went on with a new one.",
}

CALL_CUT_OFF = {"code": "server_error", "message": "The model's answer ended in the middle of a call."}

MESSAGE_REASONS = {
    "failed": "run_failed",
    "cancelled": "run_cancelled",
    "expired": "run_expired",
    "length": "max_tokens",
    "content_filter": "content_filter",
}


class Renderer:
    """One leg of a run, on its way into objects and events."""

    def __init__(self, ledger: Ledger, *, live: bool) -> None:
        self._ledger = ledger
        self._run = ledger.run
        self._live = live
        self._said = Said()
        self._message: Tracked | None = None
        self._message_step: Tracked | None = None
        self._calls_step: Tracked | None = None
        self._functions: set[int] = set()  # the turn's calls whose arguments are shown as they come
        self._usage = Usage()

    def resume(self, message: Tracked | None, steps: Sequence[Tracked], said: Said) -> None:
        """Take up what a lost worker left open, with what its readers were shown of the message."""
        self._message, self._said = message, said
        for step in steps:
            if step.value["type"] == "message_creation":
                self._message_step = step
            else:
                self._calls_step = step

    def resume_whole(
        self, message: Tracked, step: Tracked, said: Said, told: AbstractSet[tuple[str, str]]
    ) -> None:
        """Take up a run whose last message was written, and not all that belongs to that write.

        `told` are the events of the message and the step that are in the log, `said` what its
        deltas show of the message.
        """
        usage = message.state[USAGE]
        self._usage = Usage(usage["prompt_tokens"], usage["completion_tokens"])
        if step.value["status"] == "in_progress":
            step.value = objects.closed_step(step.value, "completed", now=_now(), usage=usage)
            self._ledger.change(step)
        self._tell_opening("thread.run.step", step, told)
        self._tell_opening("thread.message", message, told)
        for part in Said.of(message.value["content"]).parts_after(said):
            self._ledger.tell("thread.message.delta", objects.message_delta(message.id, part))
        for kind, each in (("thread.message", message), ("thread.run.step", step)):
            event = f"{kind}.{each.value['status']}"
            if (event, each.id) not in told:
                self._ledger.tell(event, each.value)

    def resume_turn(self, turn: Turn, step: Tracked, told: AbstractSet[tuple[str, str]]) -> None:
        """Take up a turn whose message was written, and not the calls that belong to it."""
        self._calls_step = step
        self._tell_opening("thread.run.step", step, told)
        self._end_calls(turn)

    def _tell_opening(self, kind: str, each: Tracked, told: AbstractSet[tuple[str, str]]) -> None:
        for event in (f"{kind}.created", f"{kind}.in_progress"):
            if (event, each.id) not in told:
                self._ledger.tell(event, each.value)

    # --- the engine's vocabulary ---

    async def take(self, event: Event) -> None:
        """Show one event of the engine."""
        match event:
            case TurnBegan():
                pass
            case TextArrived() | RefusalArrived():
                await self._say(event)
            case CallBegan(index, call):
                await self._begin_call(index, call)
            case ArgumentsArrived(index, text):
                self._tell_arguments(index, text)
            case ResultArrived(index, call):
                self._tell_call(index, call)
            case TurnEnded(turn):
                await self._end_turn(turn)

    async def _say(self, event: TextArrived | RefusalArrived) -> None:
        opened = self._message is None
        message = self._message or self._open_message()
        part = self._said.add(event)
        if self._live:
            self._ledger.tell("thread.message.delta", objects.message_delta(message.id, part))
            if opened:
                await self._ledger.flush()

    async def _begin_call(self, index: int, call: Call) -> None:
        opened = self._calls_step is None
        if self._calls_step is None:
            self._calls_step = self._open_step({"type": "tool_calls", "tool_calls": []})
            self._functions.clear()
        if call.tool == FUNCTION:
            self._functions.add(index)
        if self._live and call.tool == FUNCTION:
            self._tell_call(index, call)
            if opened:
                await self._ledger.flush()

    def _tell_arguments(self, index: int, text: str) -> None:
        if self._live and index in self._functions:
            self._tell_call_part({"index": index, "type": FUNCTION, FUNCTION: {"arguments": text}})

    def _tell_call(self, index: int, call: Call) -> None:
        self._tell_call_part(self._shown({"index": index, **shown_call(call)}))

    def _tell_call_part(self, part: JSON) -> None:
        if self._calls_step is not None:
            delta = objects.step_delta(self._calls_step.id, part)
            self._ledger.tell("thread.run.step.delta", delta)

    async def _end_turn(self, turn: Turn) -> None:
        """End the turn's message, then its calls, and move the run if it rests then.

        All of it is queued before anything can be written, so it is written at once.
        """
        if not turn.calls and self._message is None:
            self._open_message()
        whole = turn.finish not in CUT_SHORT
        if self._message is not None:
            self._end_message(turn, Usage() if turn.calls and whole else turn.usage)
        if turn.calls and whole:
            self._end_calls(turn)
            if not turn.awaits_outputs:
                await self._ledger.flush()
            return
        self._usage += turn.usage
        if self._calls_step is not None:
            self._close_step(self._calls_step, "failed", usage=Usage(), error=CALL_CUT_OFF)
            self._calls_step = None
        self.rest(turn.finish)

    # --- messages ---

    def _open_message(self) -> Tracked:
        message_id, run = new_id("msg_"), self._run
        thread_id = run.value["thread_id"]
        creation = {"type": "message_creation", "message_creation": {"message_id": message_id}}
        self._message_step = self._open_step(creation)
        self._message = message = Tracked(
            Key(run.key.project, "messages", beside(thread_id, message_id)),
            objects.answer_object(message_id, run.value, now=_now()),
            state={STEP: self._message_step.id},
            parent=thread_id,
            labels=frozenset({run_label(run.key.id)}),
        )
        self._ledger.change(message)
        self._ledger.tell("thread.message.created", message.value)
        self._ledger.tell("thread.message.in_progress", message.value)
        return message

    def _end_message(self, turn: Turn, usage: Usage) -> None:
        """End the open message and its step as the model ended the answer."""
        message, step = self._message, self._message_step
        if message is None or step is None:
            return
        if not self._live:
            for part in self._said.parts_after(Said()):
                self._ledger.tell("thread.message.delta", objects.message_delta(message.id, part))
        last = None if turn.calls and turn.finish not in CUT_SHORT else turn.finish
        message.state = {**message.state, USAGE: _counted(usage), LAST: last}
        if self._calls_step is not None:
            message.state[TURN] = {**turn.to_json(), STEP: self._calls_step.id}
        self._close_message(message, MESSAGE_REASONS.get(turn.finish), whole=turn.finish not in CUT_SHORT)
        self._close_step(step, "completed", usage=usage)
        self._message_step = None

    def _close_message(self, message: Tracked, reason: str | None, *, whole: bool) -> None:
        """Give the message its content and its last status."""
        now = _now()
        message.value = {
            **message.value,
            "content": self._said.content(whole=whole),
            "status": "completed" if whole else "incomplete",
            "completed_at": now if whole else None,
            "incomplete_at": None if whole else now,
            "incomplete_details": {"reason": reason} if reason else None,
        }
        self._ledger.change(message)
        self._ledger.tell(f"thread.message.{message.value['status']}", message.value)
        self._message, self._said = None, Said()

    # --- steps ---

    def _open_step(self, details: JSON) -> Tracked:
        run = self._run
        step = new_step(run, new_id("step_"), details)
        self._ledger.change(step)
        self._ledger.tell("thread.run.step.created", step.value)
        self._ledger.tell("thread.run.step.in_progress", step.value)
        return step

    def _close_step(self, step: Tracked, status: str, *, usage: Usage, error: JSON | None = None) -> None:
        step.value = objects.closed_step(step.value, status, now=_now(), usage=_counted(usage), error=error)
        self._ledger.change(step)
        details = step.value["step_details"]
        if "tool_calls" in details:
            details = {**details, "tool_calls": [self._shown(call) for call in details["tool_calls"]]}
        self._ledger.tell(f"thread.run.step.{status}", {**step.value, "step_details": details})

    def _shown(self, call: JSON) -> JSON:
        return call if self._run.state[INCLUDE_RESULTS] else objects.without_content(call)

    def _end_calls(self, turn: Turn) -> None:
        """Note the turn in the run, so that it is not taken again, and show its calls in the step."""
        run, step = self._run, self._calls_step
        if step is None:
            return
        if not self._live:
            for index, call in enumerate(turn.calls):
                if call.tool == FUNCTION:
                    self._tell_call(index, call)
        run.state = {**run.state, TURNS: [*run.state[TURNS], {**turn.to_json(), STEP: step.id}]}
        step.value = {**step.value, "step_details": calls_details(turn)}
        self._ledger.change(run, step)
        self._calls_step = None
        if turn.awaits_outputs:
            self._await_outputs(turn)
        else:
            self._close_step(step, "completed", usage=turn.usage)

    # --- the run ---

    def move(self, status: str, **changes: Any) -> None:
        """Bring the run to a status; the event is told with the next write."""
        run = self._run
        if status in transitions.ENDED:
            changes["usage"] = self._total()
            self.release_thread()
        run.value = transitions.move(run.value, status, _now(), **changes)
        self._ledger.change(run)
        self._ledger.tell(f"thread.run.{status}", run.value)

    def rest(self, finish: str) -> None:
        """The run is over as the model ended its last answer; everything in it has ended before."""
        if finish in CUT_SHORT:
            reason = {"reason": "max_completion_tokens"} if finish == "length" else None
            self.move("incomplete", incomplete_details=reason)
        else:
            self.move("completed")
        self._ledger.tell("done", None)

    def _await_outputs(self, turn: Turn) -> None:
        """The run waits for the caller to answer the calls of its last turn."""
        calls = [
            {"id": c.id, "type": FUNCTION, FUNCTION: {"name": c.name, "arguments": c.arguments}}
            for c in turn.calls
            if c.output is None
        ]
        action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}
        self.move("requires_action", required_action=action)
        self._ledger.tell("done", None)

    def end(self, status: str, **changes: Any) -> None:
        """The run is over; what is still open ends as it does, what nobody was shown is dropped."""
        if not self._live:
            self._drop_unwritten()
        self._end_open(status, MESSAGE_REASONS.get(status), objects.step_error(changes.get("last_error")))
        self.move(status, **changes)
        self._ledger.tell("done", None)

    def cut_off(self) -> None:
        """Tell what a lost worker left open as such: what was shown stays as it was shown."""
        if self._message is not None:
            self._message.state = {**self._message.state, CUT_OFF: True}
        self._settle_calls()
        self._end_open("failed", None, CUT_OFF_ERROR)

    def _settle_calls(self) -> None:
        """Close the step of calls that the run's state knows as answered; the state is written first."""
        step = self._calls_step
        if step is None:
            return
        for value, turn in zip(self._run.state[TURNS], turns_of(self._run.state), strict=True):
            if value[STEP] == step.id:
                step.value = {**step.value, "step_details": calls_details(turn)}
                self._close_step(step, "completed", usage=turn.usage)
                self._calls_step = None

    def _end_open(self, status: str, reason: str | None, error: JSON | None) -> None:
        if self._message is not None:
            self._close_message(self._message, reason, whole=False)
        for step in (self._message_step, self._calls_step):
            if step is not None:
                self._close_step(step, STEP_ENDS.get(status, status), usage=Usage(), error=error)
        self._message_step = self._calls_step = None

    def _drop_unwritten(self) -> None:
        self._ledger.discard()
        if self._message is not None and self._message.document is None:
            self._message, self._said = None, Said()
        if self._message_step is not None and self._message_step.document is None:
            self._message_step = None
        if self._calls_step is not None and self._calls_step.document is None:
            self._calls_step = None

    def _total(self) -> JSON:
        return _counted(sum((turn.usage for turn in turns_of(self._run.state)), self._usage))

    def release_thread(self) -> None:
        """Let the thread take messages and runs again."""
        thread = self._ledger.thread
        if thread.release(self._run.key.id):
            self._ledger.change(thread)


def new_step(run: Tracked, step_id: str, details: JSON) -> Tracked:
    """A step in progress, not stored yet."""
    value = objects.step_object(step_id, run.value, details, now=_now())
    key = Key(run.key.project, "run_steps", beside(run.key.id, step_id))
    return Tracked(key, value, parent=run.key.id)


def calls_details(turn: Turn) -> JSON:
    """The calls of a turn as a step shows them."""
    return {"type": "tool_calls", "tool_calls": [shown_call(call) for call in turn.calls]}


def shown_call(call: Call) -> JSON:
    """A call as a step shows it."""
    if call.tool != FUNCTION:
        return {"id": call.id, "type": call.tool, call.tool: call.details}
    function = {"name": call.name, "arguments": call.arguments, "output": call.output}
    return {"id": call.id, "type": FUNCTION, FUNCTION: function}


def _counted(usage: Usage) -> JSON:
    return objects.usage_object(usage.prompt, usage.completion)


def _now() -> int:
    return int(time.time())
