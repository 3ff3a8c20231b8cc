"""Renders a run's events as the Responses API's objects and stream events."""

from collections.abc import Callable, Collection

from inference.engine import events
from inference.engine.events import Event
from inference.engine.feeds import NumberedFrame
from inference.engine.items import (
    CALLER_ANSWERS,
    FUNCTION_CALL,
    Call,
    Compaction,
    Item,
    Message,
    Reasoning,
    ToolList,
    calls_before,
)
from inference.engine.renderer import ObjectChange
from inference.engine.state import RunState
from inference.engine.statuses import ENDED
from inference.responses import objects
from inference.responses.conversations import item_key
from inference.responses.event_frames import TERMINAL, Frame, FrameWriter, delta, part_event, place_of
from inference.responses.items import ENCRYPTED_REASONING, EXTRA, output_id, shown
from inference.responses.open_items import OpenItem, annotation_of, content_of, cut, is_cut, logprob_of
from inference.responses.state import BROUGHT, INCLUDE, INPUT, OBFUSCATION, PLACES
from inference.responses.tool_items import TOOL_ITEMS, made_images, tool_list_end, tool_list_item
from inference.responses.tools import RequestTools
from persistence.store import Key
from persistence.types import JSON

Seal = Callable[[str, JSON], str]
"""Encrypts what an item of that type holds for the server; the same content gives the same text."""


class ResponsesRenderer:
    """Turns a run's items into output items and `response.*` events."""

    def __init__(self, project: str, run: JSON, state: RunState, seal: Seal | None = None) -> None:
        self.run = run
        self.changes: dict[Key, ObjectChange] = {}
        self.open_objects: dict[Key, ObjectChange] = {}
        self._project = project
        self._seal = seal
        self._include: Collection[str] = state.extra[INCLUDE]
        self._writer = FrameWriter(run["id"], pads=state.extra[OBFUSCATION])
        self._summarizes = run["reasoning"].get("summary") is not None
        self._tools = RequestTools.of(run["tools"], run["tool_choice"], state.extra[BROUGHT])
        self._open: dict[str, OpenItem] = {}
        self._output: list[JSON] = list(run["output"])
        self._of_turn: dict[str, JSON] = {}

    def render(self, event: Event, state: RunState) -> list[NumberedFrame]:
        """Return the frames of an event."""
        if isinstance(event, events.ItemDelta) and event.part == "text":
            opened = self._open[event.id]
            if opened.is_plain and opened.has_part and not event.annotations and not event.logprobs:
                return self._writer.text_deltas(opened, event.texts, state.shown)
        return self._writer.numbered(self._frames(event, state), state.shown)

    def _frames(self, event: Event, state: RunState) -> list[Frame]:
        match event:
            case events.RunCreated():
                return [self._lifecycle("response.created")]
            case events.RunMoved():
                return self._move(event, state)
            case events.TurnStarted():
                self._drop_turn(kept={item.id for item in state.turns[-1].items})
            case events.ItemStarted():
                return self._start(events.started_item(event), state)
            case events.ItemDelta():
                return [frame for delta in event.split() for frame in self._grow(delta, state)]
            case events.ItemProgress():
                return self._progress(event)
            case events.ItemFinished():
                return self._finish(event, state)
            case events.TurnFinished(finish, _, _, tier, checks):
                if checks:
                    self.run = {**self.run, "moderation": checks}
                if tier in objects.SERVICE_TIERS:
                    self.run = {**self.run, "service_tier": tier}
                if finish == events.INTERRUPTED:
                    self._drop_turn(kept=set())
                self._of_turn = {}
            case _:
                pass
        return []

    # --- the response ---

    def _move(self, event: events.RunMoved, state: RunState) -> list[Frame]:
        now = self.run["status"]
        if event.status not in ("cancelling", now) and now not in ENDED:
            self.run = objects.moved(self.run, event.status, event.at)
        if event.status == "queued":
            return [self._lifecycle("response.queued")] if self.run["background"] else []
        if event.status == "in_progress":
            return [self._lifecycle("response.in_progress")]
        if event.status not in ENDED:
            return []
        self.run = {**self.run, "output": self._output, "usage": objects.usage_object(state.usage)}
        if event.error is not None:
            self.run["error"] = objects.error_object(event.error)
        elif event.status == "expired":
            self.run["error"] = {"code": "server_error", "message": "The response took too long."}
        if event.status == "incomplete":
            self.run["incomplete_details"] = objects.incomplete_details(event.reason)
        self._append_to_conversation(state)
        return [self._lifecycle(TERMINAL[self.run["status"]])]

    def _lifecycle(self, name: str) -> Frame:
        return name, {"response": objects.shown_response(self.run, self._include)}

    def _append_to_conversation(self, state: RunState) -> None:
        conversation = (self.run.get("conversation") or {}).get("id")
        if conversation is None:
            return
        for item in objects.conversation_items(self.run, state.extra.get(INPUT, [])):
            key = item_key(self._project, conversation, item["id"])
            self.changes[key] = ObjectChange(key, item, parent=conversation)

    def _drop_turn(self, kept: Collection[str]) -> None:
        """Leave out the finished items of a turn whose worker was lost: the model is asked again."""
        dropped = [item["id"] for id, item in self._of_turn.items() if id not in kept]
        if dropped:
            self._output = [item for item in self._output if item["id"] not in dropped]
        self._of_turn = {id: item for id, item in self._of_turn.items() if id in kept}

    # --- items ---

    def _start(self, item: Item, state: RunState) -> list[Frame]:
        frames = self._carry_extra(item, state) if isinstance(item, Call) and item.extra else []
        index = self._next_index(state)
        type = self._type(item)
        opened = OpenItem(index, output_id(type, self.run["id"], index), type, isinstance(item, Message))
        self._open[item.id] = opened
        begun = self._item(item, opened, "in_progress")
        added = {"output_index": index, "item": shown(begun, self._include)}
        frames.append(("response.output_item.added", added))
        if isinstance(item, Call) and item.type != FUNCTION_CALL:
            frames += TOOL_ITEMS[item.type].start(item, opened)
        if isinstance(item, ToolList):
            frames.append((f"response.{type}.in_progress", place_of(opened)))
        return frames

    def _next_index(self, state: RunState) -> int:
        index: int = state.extra.get(PLACES, 0)
        state.extra[PLACES] = index + 1
        return index

    def _carry_extra(self, call: Call, state: RunState) -> list[Frame]:
        """Begin a call with an item of reasoning that holds what the call's provider wants back.

        Clients that keep their own state send reasoning back whole, but no unknown members of calls.
        """
        if self._seal is None or ENCRYPTED_REASONING not in self._include:
            return []
        index = self._next_index(state)
        sealed = self._seal("reasoning", {"text": "", "blocks": [], "extras": {call.call_id: call.extra}})
        id = output_id("reasoning", self.run["id"], index)
        carrier: JSON = {"id": id, "type": "reasoning", "summary": [], "encrypted_content": sealed}
        carrier["status"] = "completed"
        self._add_output(f"{call.id} {EXTRA}", carrier)
        at = {"output_index": index, "item": carrier}
        return [("response.output_item.added", at), ("response.output_item.done", at)]

    def _add_output(self, id: str, item: JSON) -> None:
        """Add a finished item to the output; `id` is what the engine calls it."""
        self._output = [*self._output, item]
        self._of_turn[id] = item
        self.run = {**self.run, "output": self._output}

    def _type(self, item: Item) -> str:
        if isinstance(item, Call) and item.type == FUNCTION_CALL:
            return str(self._tools.item(item.name, "{}", item.call_id)["type"])
        return item.type

    def _grow(self, event: events.ItemDelta, state: RunState) -> list[Frame]:
        item, opened = state.turns[-1].item(event.id), self._open[event.id]
        if isinstance(item, Message) and event.part == "text":
            return self._grow_text(item, opened, event, state)
        if isinstance(item, Message) and event.part == "refusal":
            return self._grow_refusal(opened, event.text)
        if isinstance(item, Reasoning) and event.part == "text":
            return self._grow_reasoning(opened, event.text)
        if isinstance(item, Call) and opened.type == FUNCTION_CALL:
            return [delta("function_call_arguments", opened, event.text)]
        if isinstance(item, Call) and item.type != FUNCTION_CALL:
            return TOOL_ITEMS[item.type].grow(item, opened, event.text)
        return []

    def _grow_refusal(self, opened: OpenItem, text: str) -> list[Frame]:
        index = 1 if opened.has_part else 0
        part = {"type": "refusal", "refusal": ""}
        frames = [] if opened.refuses else [part_event("content_part.added", opened, part, index)]
        opened.refuses = True
        return [*frames, delta("refusal", opened, text, content_index=index)]

    def _grow_text(
        self, item: Message, opened: OpenItem, event: events.ItemDelta, state: RunState
    ) -> list[Frame]:
        frames: list[Frame] = []
        if not opened.has_part:
            opened.has_part = True
            frames.append(part_event("content_part.added", opened, objects.part_of_text("", [], []), 0))
        text = self._without_marks(item, opened, event)
        if text or event.logprobs:
            logprobs = [logprob_of(each) for each in event.logprobs]
            frames.append(delta("output_text", opened, text, content_index=0, logprobs=logprobs))
        for mark in event.annotations:
            frames += self._annotate(opened, annotation_of(mark, opened, state))
        return frames

    def _without_marks(self, item: Message, opened: OpenItem, event: events.ItemDelta) -> str:
        """Return a delta's text without the marks that became annotations."""
        marks = [mark for mark in event.annotations if is_cut(mark)]
        if not marks:
            return event.text
        start = item.text.length - len(event.text)
        spans = [(mark["start_index"], mark["end_index"]) for mark in marks]
        opened.spans += spans
        return cut(event.text, [(first - start, last - start) for first, last in spans])

    def _grow_reasoning(self, opened: OpenItem, text: str) -> list[Frame]:
        frames: list[Frame] = []
        if self._summarizes:
            if not opened.has_part:
                part = {"type": "summary_text", "text": ""}
                added = {**place_of(opened), "summary_index": 0, "part": part}
                frames.append(("response.reasoning_summary_part.added", added))
            frames.append(delta("reasoning_summary_text", opened, text, summary_index=0))
        else:
            if not opened.has_part:
                part = {"type": "reasoning_text", "text": ""}
                frames.append(part_event("content_part.added", opened, part, 0))
            frames.append(delta("reasoning_text", opened, text, content_index=0))
        opened.has_part = True
        return frames

    def _progress(self, event: events.ItemProgress) -> list[Frame]:
        opened = self._open[event.id]
        return TOOL_ITEMS[opened.type].progress(opened, event.phase, event.data)

    def _finish(self, event: events.ItemFinished, state: RunState) -> list[Frame]:
        item = state.turns[-1].item(event.id)
        if (
            isinstance(item, Call)
            and item.type not in CALLER_ANSWERS
            and event.output is None
            and event.status == "completed"
        ):
            return []
        opened = self._open.pop(event.id)
        if isinstance(item, Compaction) and event.status != "completed":
            return []
        status = "completed" if event.status == "completed" else "incomplete"
        if event.error is not None and event.output is not None:
            status = "failed"  # the server's tool, whose error the model reads
        frames = self._cite_images(item, opened, state) if isinstance(item, Message) else []
        finished = self._item(item, opened, status)
        if event.status != events.INTERRUPTED:
            self._add_output(event.id, finished)
        done = {"output_index": opened.index, "item": shown(finished, self._include)}
        return [*frames, *self._endings(item, opened, finished), ("response.output_item.done", done)]

    def _cite_images(self, item: Message, opened: OpenItem, state: RunState) -> list[Frame]:
        """Cite the images that code has made since the last message, at the end of the text."""
        end = item.text.length - sum(last - first for first, last in opened.spans)
        cited = {each.get("file_id") for each in opened.annotations}
        frames: list[Frame] = []
        for image in made_images(calls_before(state.turns, item)):
            if image["file_id"] not in cited:
                at = {"start_index": end, "end_index": end}
                frames += self._annotate(opened, {"type": "container_file_citation", **image, **at})
        return frames if opened.has_part else []

    def _annotate(self, opened: OpenItem, annotation: JSON) -> list[Frame]:
        added = {"annotation_index": len(opened.annotations), "annotation": annotation, "content_index": 0}
        opened.annotations.append(annotation)
        return [("response.output_text.annotation.added", {**place_of(opened), **added})]

    def _endings(self, item: Item, opened: OpenItem, finished: JSON) -> list[Frame]:
        """Return the events that end an item's parts."""
        if isinstance(item, Message):
            return self._end_parts(opened, finished)
        if isinstance(item, Reasoning):
            return self._end_reasoning(item, opened)
        if isinstance(item, Compaction):
            return []
        if isinstance(item, ToolList):
            return [tool_list_end(opened, finished)]
        at = place_of(opened)
        if opened.type == FUNCTION_CALL:
            done = {**at, "name": finished["name"], "arguments": finished["arguments"]}
            return [("response.function_call_arguments.done", done)]
        if opened.type == "custom_tool_call":
            text = finished["input"]
            return [
                delta("custom_tool_call_input", opened, text),
                ("response.custom_tool_call_input.done", {**at, "input": text}),
            ]
        if opened.type == "shell_call":
            return self._shell_commands(opened, finished["action"]["commands"])
        if item.type == FUNCTION_CALL:  # of the caller, as a tool of another type
            return []
        return TOOL_ITEMS[item.type].end(opened, finished)

    def _shell_commands(self, opened: OpenItem, commands: list[str]) -> list[Frame]:
        frames: list[Frame] = []
        for index, command in enumerate(commands):
            at = {"output_index": opened.index, "command_index": index}
            frames.append(("response.shell_call_command.added", {**at, "command": ""}))
            frames.append(("response.shell_call_command.delta", {**at, "delta": command}))
            frames.append(("response.shell_call_command.done", {**at, "command": command}))
        return frames

    def _end_parts(self, opened: OpenItem, finished: JSON) -> list[Frame]:
        frames: list[Frame] = []
        for index, part in enumerate(shown(finished, self._include)["content"]):
            is_text = part["type"] == "output_text"
            if is_text and not opened.has_part:  # an answer without text
                frames.append(
                    part_event("content_part.added", opened, objects.part_of_text("", [], []), index)
                )
            at = {**place_of(opened), "content_index": index}
            if is_text:
                done = {**at, "text": part["text"], "logprobs": part.get("logprobs") or []}
                frames.append(("response.output_text.done", done))
            else:
                frames.append(("response.refusal.done", {**at, "refusal": part["refusal"]}))
            frames.append(part_event("content_part.done", opened, part, index))
        return frames

    def _end_reasoning(self, item: Reasoning, opened: OpenItem) -> list[Frame]:
        if not opened.has_part:
            return []
        text, at = str(item.text), place_of(opened)
        if not self._summarizes:
            part = {"type": "reasoning_text", "text": text}
            done = {**at, "content_index": 0, "text": text}
            return [("response.reasoning_text.done", done), part_event("content_part.done", opened, part, 0)]
        at["summary_index"] = 0
        return [
            ("response.reasoning_summary_text.done", {**at, "text": text}),
            ("response.reasoning_summary_part.done", {**at, "part": {"type": "summary_text", "text": text}}),
        ]

    # --- objects ---

    def _item(self, item: Item, opened: OpenItem, status: str) -> JSON:
        """Return an item in its stored form; one in progress has no content."""
        if isinstance(item, Message):
            content = [] if status == "in_progress" else content_of(item, opened)
            return objects.message_item(opened.id, content, status, item.phase)
        if isinstance(item, Reasoning):
            return self._reasoning(item, opened, status)
        if isinstance(item, Compaction):
            return self._compaction(item, opened, status)
        if isinstance(item, ToolList):
            return tool_list_item(item, opened)
        if item.type == FUNCTION_CALL:
            begun = status == "in_progress"
            call = self._tools.item(item.name, "" if begun else str(item.arguments), item.call_id)
            if begun and call["type"] == FUNCTION_CALL:
                call["arguments"] = ""
            extra = {EXTRA: item.extra} if item.extra else {}
            return {"id": opened.id, **call, "status": status, **extra}
        return TOOL_ITEMS[item.type].item(item, opened, status)

    def _reasoning(self, item: Reasoning, opened: OpenItem, status: str) -> JSON:
        value: JSON = {"id": opened.id, "type": "reasoning", "summary": []}
        if status == "in_progress":
            return value
        text = str(item.text)
        if text and self._summarizes:
            value["summary"] = [{"type": "summary_text", "text": text}]
        elif text:
            value["content"] = [{"type": "reasoning_text", "text": text}]
        if self._seal is not None:
            value["encrypted_content"] = self._seal("reasoning", {"text": text, "blocks": item.blocks})
        return {**value, "status": status}

    def _compaction(self, item: Compaction, opened: OpenItem, status: str) -> JSON:
        sealed = ""
        if self._seal is not None and status != "in_progress":
            sealed = self._seal("compaction", {"summary": str(item.text), **item.details})
        return {"id": opened.id, "type": "compaction", "encrypted_content": sealed}
