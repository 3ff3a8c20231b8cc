"""Renders a run's events as the Assistants API's objects and stream events."""

from collections.abc import Callable
from typing import Any

import orjson

from inference.assistants import objects
from inference.assistants.objects import without_content
from inference.assistants.tool_calls import TOOL_CALLS, ToolCall, approval_function, shown_images
from inference.engine import events
from inference.engine.events import Event
from inference.engine.feeds import NumberedFrame
from inference.engine.items import (
    APPROVAL_REQUEST,
    CALLER_ANSWERS,
    FUNCTION_CALL,
    Call,
    Message,
    Turn,
    Usage,
    calls_before,
)
from inference.engine.renderer import ObjectChange
from inference.engine.state import RunState
from inference.engine.statuses import ENDED, SETTLED
from persistence.collections import MESSAGES, RUN_STEPS
from persistence.store import Key, child_id
from persistence.types import JSON

Frame = tuple[str, Any]
"""The name of an event and its data."""

DONE = "done"
"""The name of the event that ends each stream."""

INCLUDE_RESULTS = "include_results"
"""A run's own option: whether events show the content of what file_search finds."""

CUT_OFF = "cut_off"
"""State of a message whose worker was lost: later prompts leave it out, as a complete one follows."""

STEP_ENDS = {"incomplete": "failed", "interrupted": "failed"}
"""The step's status for an item's status that steps do not have."""

INTERRUPTED_ERROR = {
    "code": "server_error",
    "message": "The server was interrupted in this step; the run went on with a new one.",
}

CALL_CUT_SHORT = {"code": "server_error", "message": "The model's answer ended in the middle of a call."}

_ANY_TOOL = ToolCall()

MESSAGE_REASONS = {
    "failed": "run_failed",
    "cancelled": "run_cancelled",
    "expired": "run_expired",
    "length": "max_tokens",
    "content_filter": "content_filter",
}


class AssistantsRenderer:
    """Turns a run's items into messages, run steps and their events.

    A message item is a message and its step; the calls of a turn are one step. Ids derive from the items'.
    """

    def __init__(self, project: str, run: JSON, state: RunState) -> None:
        self.run = run
        self.changes: dict[Key, ObjectChange] = {}
        self.open_objects: dict[Key, ObjectChange] = {}
        self._project = project
        self._annotated: dict[str, int] = {}
        self._images: dict[str, list[str]] = {}
        self._steps: dict[str, ObjectChange] = {}
        self._tool_calls: dict[str, ToolCall] = {}
        self._calling: Turn | None = None
        self._include_results = bool(state.extra.get(INCLUDE_RESULTS))
        if state.pending:
            self._restore_calls_step(state.turns[-1])

    def render(self, event: Event, state: RunState) -> list[NumberedFrame]:
        """Return the frames of an event."""
        return numbered(self._frames(event, state), state.shown)

    def _frames(self, event: Event, state: RunState) -> list[Frame]:
        match event:
            case events.RunCreated(made):
                thread = [("thread.created", made["thread"])] if "thread" in made else []
                return [*thread, ("thread.run.created", self.run)]
            case events.RunMoved():
                return self._move(event, state)
            case events.TurnStarted(_, at):
                return self._close_steps(events.INTERRUPTED, at, INTERRUPTED_ERROR)
            case events.ItemStarted():
                item = events.started_item(event)
                if isinstance(item, Message):
                    return self._start_message(item, event.at, state)
                return self._start_call(item, state, event.at) if isinstance(item, Call) else []
            case events.ItemDelta():
                return [frame for delta in event.split() for frame in self._grow(delta, state)]
            case events.ItemProgress(id, phase, data):
                return self._call_delta(
                    state.turns[-1], id, lambda tool, call: tool.progress(call, phase, data)
                )
            case events.ItemFinished():
                item = state.turns[-1].item(event.id)
                if isinstance(item, Message):
                    return self._finish_message(item, event)
                return self._finish_call(item, event, state) if isinstance(item, Call) else []
            case events.TurnFinished():
                return self._finish_turn(event, state)
            case events.OutputsSubmitted(_, at):
                return self._complete_calls(state.turns[-1], at)
            case _:
                return []

    # --- the run ---

    def _move(self, event: events.RunMoved, state: RunState) -> list[Frame]:
        changes: JSON = {}
        if event.status in ENDED:
            changes["usage"] = usage_object(state.usage)
        if event.status == "requires_action":
            changes["required_action"] = objects.required_action([_function(call) for call in state.pending])
        if event.error is not None:
            changes["last_error"] = objects.run_error(event.error)
        if event.reason is not None:
            changes["incomplete_details"] = {"reason": event.reason}
        frames: list[Frame] = []
        if event.status in ENDED:
            frames = self._close_steps(event.status, event.at, objects.step_error(event.error))
        if event.status != self.run["status"]:
            self.run = objects.moved(self.run, event.status, event.at, **changes)
        done = [(DONE, None)] if event.status in SETTLED else []
        return [*frames, (f"thread.run.{event.status}", self.run), *done]

    # --- messages ---

    def _start_message(self, item: Message, at: int, state: RunState) -> list[Frame]:
        creation = {"type": "message_creation", "message_creation": {"message_id": item.id}}
        frames = self._start_step(_message_step(item), creation, at)
        thread = self.run["thread_id"]
        message = ObjectChange(
            Key(self._project, MESSAGES, child_id(thread, item.id)),
            objects.answer_object(item.id, self.run, now=at),
            parent=thread,
            labels=frozenset({objects.run_label(self.run["id"])}),
            ahead=True,
        )
        self._change(message, is_open=True)
        self._images[item.id] = images = shown_images(calls_before(state.turns, item))
        parts = ({"index": index, **objects.image_part(file)} for index, file in enumerate(images))
        return [
            *frames,
            ("thread.message.created", message.value),
            ("thread.message.in_progress", message.value),
            *(("thread.message.delta", objects.message_delta(item.id, part)) for part in parts),
        ]

    def _grow(self, event: events.ItemDelta, state: RunState) -> list[Frame]:
        item = state.turns[-1].item(event.id)
        if isinstance(item, Message):
            return self._grow_message(item, event)
        if isinstance(item, Call) and item.type == FUNCTION_CALL and event.part == "arguments":
            index = _index(state.turns[-1], item)
            part = {"index": index, "type": "function", "function": {"arguments": event.text}}
            return [_step_delta(_calls_step(state.turns[-1]), part)]
        if isinstance(item, Call) and event.part == "arguments":
            return self._call_delta(state.turns[-1], item.id, lambda tool, call: tool.grow(call, event.text))
        return []

    def _grow_message(self, item: Message, event: events.ItemDelta) -> list[Frame]:
        place = len(self._images[item.id])
        if event.part == "refusal":
            place += 1 if item.text else 0
            part: JSON = {"index": place, "type": "refusal", "refusal": event.text}
        elif event.part == "text":
            first = item.id not in self._annotated
            index = self._annotated.get(item.id, 0)
            self._annotated[item.id] = index + len(event.annotations)
            part = objects.text_delta(event.text, event.annotations, index, place, first=first)
        else:
            return []
        return [("thread.message.delta", objects.message_delta(item.id, part))]

    def _finish_message(self, item: Message, event: events.ItemFinished) -> list[Frame]:
        message = self.open_objects[Key(self._project, MESSAGES, child_id(self.run["thread_id"], item.id))]
        whole = event.status == "completed"
        reason = MESSAGE_REASONS.get(event.reason or event.status)
        content = [*map(objects.image_part, self._images.pop(item.id)), *_content(item, whole=whole)]
        value = objects.finished_message(message.value, content, event.at, whole=whole, reason=reason)
        state = {CUT_OFF: True} if event.status == events.INTERRUPTED else {}
        closed = ObjectChange(message.key, value, state, message.parent, message.labels, ahead=True)
        self._change(closed, is_open=False)
        ended = [(f"thread.message.{value['status']}", value)]
        status = "completed" if event.reason else event.status
        error = INTERRUPTED_ERROR if status == events.INTERRUPTED else objects.step_error(event.error)
        usage = Usage(*event.tokens)
        return [*ended, *self._finish_step(_message_step(item), status, event.at, usage, error)]

    # --- calls ---

    def _start_call(self, item: Call, state: RunState, at: int) -> list[Frame]:
        self._calling = turn = state.turns[-1]
        step = _calls_step(turn)
        frames: list[Frame] = []
        if step not in self._steps:
            frames += self._start_step(step, {"type": "tool_calls", "tool_calls": []}, at)
        if item.type == FUNCTION_CALL:
            frames.append(_step_delta(step, {"index": _index(turn, item), **_shown_call(item)}))
        if item.type in CALLER_ANSWERS:
            return frames
        return [*frames, *self._call_delta(turn, item.id, lambda tool, call: tool.start(call))]

    def _call_delta(self, turn: Turn, id: str, made: Callable[[ToolCall, Call], JSON | None]) -> list[Frame]:
        """Return the step's delta for a call of the server's tool, if the tool shows anything."""
        call = turn.item(id)
        if not isinstance(call, Call):
            return []
        is_new = id not in self._tool_calls
        tool = self._tool_calls.get(id) or _tool_call(call).opened()
        delta = made(tool, call)
        if delta is None:
            return []
        self._tool_calls[id] = tool
        type = _tool_type(call)
        named = {"id": call.call_id} if is_new else {}  # clients append a second one to the first
        part = {"index": _index(turn, call), **named, "type": type, type: delta}
        return [_step_delta(_calls_step(turn), self._without_content(part))]

    def _finish_call(self, item: Call, event: events.ItemFinished, state: RunState) -> list[Frame]:
        if item.type == APPROVAL_REQUEST and event.status == "completed":
            turn = state.turns[-1]
            return [_step_delta(_calls_step(turn), {"index": _index(turn, item), **_shown_call(item)})]
        if item.type in CALLER_ANSWERS or event.output is None:
            return []
        return self._call_delta(state.turns[-1], item.id, lambda tool, call: tool.finish(call))

    def _finish_turn(self, event: events.TurnFinished, state: RunState) -> list[Frame]:
        if event.finish == events.INTERRUPTED:
            return self._close_steps(event.finish, event.at, INTERRUPTED_ERROR)
        turn = state.turns[-1]
        if any(call.status not in ("completed", "failed") for call in turn.calls):
            return self._close_steps("failed", event.at, CALL_CUT_SHORT)
        if not turn.calls:
            return []
        if turn.pending:
            self._show_calls(turn)
            return []
        return self._complete_calls(turn, event.at)

    def _complete_calls(self, turn: Turn, at: int) -> list[Frame]:
        self._show_calls(turn)
        return self._finish_step(_calls_step(turn), "completed", at, turn.usage)

    def _show_calls(self, turn: Turn) -> None:
        """Put the calls into their step."""
        step = self._steps[_calls_step(turn)]
        calls = [_shown_call(call, self._tool_calls.get(call.id)) for call in turn.calls]
        value = {**step.value, "step_details": {"type": "tool_calls", "tool_calls": calls}}
        self._steps[step.value["id"]] = step = ObjectChange(step.key, value, parent=step.parent)
        self._change(step, is_open=True)
        self._calling, self._tool_calls = None, {}

    def _close_steps(self, status: str, at: int, error: JSON | None) -> list[Frame]:
        """Close the steps that are open when their turn or the run ends; calls show what clients saw."""
        if self._calling is not None and _calls_step(self._calling) in self._steps:
            self._show_calls(self._calling)
        return [
            frame
            for step in list(self._steps)
            for frame in self._finish_step(step, status, at, Usage(), error)
        ]

    # --- steps ---

    def _start_step(self, id: str, details: JSON, at: int) -> list[Frame]:
        step = self._new_step(id, details, at)
        self._change(step, is_open=True)
        return [("thread.run.step.created", step.value), ("thread.run.step.in_progress", step.value)]

    def _new_step(self, id: str, details: JSON, at: int) -> ObjectChange:
        key = Key(self._project, RUN_STEPS, child_id(self.run["id"], id))
        step = ObjectChange(key, objects.step_object(id, self.run, details, now=at), parent=self.run["id"])
        self._steps[id] = step
        return step

    def _restore_calls_step(self, turn: Turn) -> None:
        """Open the step whose calls wait for their outputs; its object is read before it is written."""
        step = self._new_step(_calls_step(turn), {"type": "tool_calls", "tool_calls": []}, 0)
        self.open_objects[step.key] = step

    def _finish_step(
        self, id: str, status: str, at: int, usage: Usage, error: JSON | None = None
    ) -> list[Frame]:
        step = self._steps.pop(id)
        status = STEP_ENDS.get(status, status)
        value = objects.finished_step(step.value, status, at, usage_object(usage), error)
        self._change(ObjectChange(step.key, value, parent=step.parent), is_open=False)
        details = value["step_details"]
        if "tool_calls" in details:
            calls = [self._without_content(call) for call in details["tool_calls"]]
            details = {**details, "tool_calls": calls}
        return [(f"thread.run.step.{status}", {**value, "step_details": details})]

    def _change(self, change: ObjectChange, *, is_open: bool) -> None:
        self.changes[change.key] = change
        if is_open:
            self.open_objects[change.key] = change
        else:
            self.open_objects.pop(change.key, None)

    def _without_content(self, call: JSON) -> JSON:
        return call if self._include_results else without_content(call)


def numbered(frames: list[Frame], first: int) -> list[NumberedFrame]:
    """Return frames as Server-Sent Events, the first with that number."""
    return [
        NumberedFrame(number, b"id: %d\nevent: done\ndata: [DONE]\n\n" % number, ends=True)
        if name == DONE
        else NumberedFrame(
            number, b"id: %d\nevent: %s\ndata: %s\n\n" % (number, name.encode(), orjson.dumps(data))
        )
        for number, (name, data) in enumerate(frames, first)
    ]


def _message_step(item: Message) -> str:
    return "step_" + item.id.removeprefix("msg_")


def _calls_step(turn: Turn) -> str:
    return "step_" + turn.id.removeprefix("turn_")


def _index(turn: Turn, call: Call) -> int:
    return next(index for index, each in enumerate(turn.calls) if each is call or each.id == call.id)


def _step_delta(step: str, part: JSON) -> Frame:
    return ("thread.run.step.delta", objects.step_delta(step, part))


def _shown_call(call: Call, tool: ToolCall | None = None) -> JSON:
    """Return a call as a step shows it; `tool` has shown it so far."""
    if call.type == FUNCTION_CALL:
        shown = {"name": call.name, "arguments": str(call.arguments), "output": call.output}
        return {"id": call.call_id, "type": "function", "function": shown}
    if call.type == APPROVAL_REQUEST:
        shown = {**approval_function(call), "output": call.output}
        return {"id": call.call_id, "type": "function", "function": shown}
    type = _tool_type(call)
    return {"id": call.call_id, "type": type, type: (tool or _tool_call(call)).shown(call)}


def _tool_type(call: Call) -> str:
    return call.type.removesuffix("_call")


def _tool_call(call: Call) -> ToolCall:
    return TOOL_CALLS.get(call.type) or _ANY_TOOL


def _function(call: Call) -> JSON:
    """Return a call as a run that waits for its output shows it."""
    if call.type == APPROVAL_REQUEST:
        function = approval_function(call)
    else:
        function = {"name": call.name, "arguments": str(call.arguments) or "{}"}
    return {"id": call.call_id, "type": "function", "function": function}


def _content(item: Message, *, whole: bool) -> list[JSON]:
    """Return a message's content; a complete answer without text is an empty text."""
    parts: list[JSON] = []
    if item.text or (whole and not item.refusal):
        parts.append(objects.text_part(str(item.text), item.annotations))
    if item.refusal:
        parts.append({"type": "refusal", "refusal": str(item.refusal)})
    return parts


def usage_object(usage: Usage) -> JSON:
    """Return the tokens of a step or a run."""
    return objects.usage_object(usage.prompt, usage.completion)
