"""Renders a run's events as the Responses API's objects and stream events."""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import orjson

from inference.engine import events
from inference.engine.events import Event
from inference.engine.feeds import NumberedFrame
from inference.engine.items import FUNCTION_CALL, Call, Compaction, Item, Message, Reasoning
from inference.engine.renderer import ObjectChange
from inference.engine.state import RunState
from inference.engine.statuses import ENDED
from inference.gateway.tolerant_json import LEAST_LOGPROB
from inference.responses import objects
from inference.responses.items import ENCRYPTED_REASONING, EXTRA, output_id, shown
from inference.responses.state import BROUGHT, INCLUDE, INPUT, OBFUSCATION, PLACES
from inference.responses.tools import RequestTools
from persistence.collections import CONVERSATION_ITEMS
from persistence.store import Key, child_id
from persistence.types import JSON

Frame = tuple[str, JSON]
"""The name of an event and its data, without type and number."""

Seal = Callable[[str, JSON], str]
"""Encrypts what an item of that type holds for the server; the same content gives the same text."""

PADDED_TO = 16
"""Characters of a padded delta are a multiple of this."""

TEXT_DELTA = (
    b"event: response.output_text.delta\n"
    b'data: {"type":"response.output_text.delta","sequence_number":%d,"item_id":"%s","output_index":%d,'
    b'"content_index":0,"logprobs":[],"delta":%s%s}\n\n'
)

TERMINAL = {
    "completed": "response.completed",
    "incomplete": "response.incomplete",
    "failed": "response.failed",
    "cancelled": "response.incomplete",  # the edition has no event of its own for it
}


@dataclass(slots=True)
class _Open:
    """An output item that is not finished: its place and its parts so far."""

    index: int
    id: str
    type: str
    is_plain: bool = False
    """Whether it is a message: most frames are its deltas, which are written from a template."""
    has_part: bool = False
    refuses: bool = False
    annotations: list[JSON] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)


class ResponsesRenderer:
    """Turns a run's items into output items and `response.*` events."""

    def __init__(self, project: str, run: JSON, state: RunState, seal: Seal | None = None) -> None:
        self.run = run
        self.changes: dict[Key, ObjectChange] = {}
        self.open_objects: dict[Key, ObjectChange] = {}
        self._project = project
        self._seal = seal
        self._include: Collection[str] = state.extra[INCLUDE]
        self._pads = state.extra[OBFUSCATION]
        self._noise = hashlib.blake2b(run["id"].encode(), digest_size=PADDED_TO).hexdigest()
        self._summarizes = run["reasoning"].get("summary") is not None
        self._tools = RequestTools.of(run["tools"], run["tool_choice"], state.extra[BROUGHT])
        self._open: dict[str, _Open] = {}
        self._output: list[JSON] = list(run["output"])
        self._of_turn: dict[str, JSON] = {}

    def render(self, event: Event, state: RunState) -> list[NumberedFrame]:
        """Return the frames of an event."""
        if isinstance(event, events.ItemDelta) and event.part == "text":
            opened = self._open[event.id]
            if opened.is_plain and opened.has_part and not event.annotations and not event.logprobs:
                return [self._plain_delta(opened, event.text, state.shown)]
        return self._numbered(self._frames(event, state), state.shown)

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
                return self._grow(event, state)
            case events.ItemProgress():
                return self._progress(event)
            case events.ItemFinished():
                return self._finish(event, state)
            case events.TurnFinished(finish):
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
            key = Key(self._project, CONVERSATION_ITEMS, child_id(conversation, item["id"]))
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
        opened = _Open(index, output_id(type, self.run["id"], index), type, isinstance(item, Message))
        self._open[item.id] = opened
        begun = self._item(item, opened, "in_progress")
        added = {"output_index": index, "item": shown(begun, self._include)}
        frames.append(("response.output_item.added", added))
        if isinstance(item, Call) and item.type != FUNCTION_CALL:
            frames.append((f"response.{type}.in_progress", _at(opened)))
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
            return [self._delta("function_call_arguments", opened, event.text)]
        return []

    def _grow_refusal(self, opened: _Open, text: str) -> list[Frame]:
        index = 1 if opened.has_part else 0
        part = {"type": "refusal", "refusal": ""}
        frames = [] if opened.refuses else [_part("content_part.added", opened, part, index)]
        opened.refuses = True
        return [*frames, self._delta("refusal", opened, text, content_index=index)]

    def _grow_text(
        self, item: Message, opened: _Open, event: events.ItemDelta, state: RunState
    ) -> list[Frame]:
        frames: list[Frame] = []
        if not opened.has_part:
            opened.has_part = True
            frames.append(_part("content_part.added", opened, objects.part_of_text("", [], []), 0))
        text = self._without_marks(item, opened, event)
        if text or event.logprobs:
            logprobs = [_logprob(each) for each in event.logprobs]
            frames.append(self._delta("output_text", opened, text, content_index=0, logprobs=logprobs))
        for mark in event.annotations:
            annotation = _annotation(mark, opened, state)
            number = len(opened.annotations)
            opened.annotations.append(annotation)
            added = {"annotation_index": number, "annotation": annotation, "content_index": 0}
            frames.append(("response.output_text.annotation.added", {**_at(opened), **added}))
        return frames

    def _without_marks(self, item: Message, opened: _Open, event: events.ItemDelta) -> str:
        """Return a delta's text without the marks that became annotations."""
        if not event.annotations:
            return event.text
        start = item.text.length - len(event.text)
        spans = [(mark["start_index"], mark["end_index"]) for mark in event.annotations]
        opened.spans += spans
        return _cut(event.text, [(first - start, last - start) for first, last in spans])

    def _grow_reasoning(self, opened: _Open, text: str) -> list[Frame]:
        frames: list[Frame] = []
        if self._summarizes:
            if not opened.has_part:
                part = {"type": "summary_text", "text": ""}
                added = {**_at(opened), "summary_index": 0, "part": part}
                frames.append(("response.reasoning_summary_part.added", added))
            frames.append(self._delta("reasoning_summary_text", opened, text, summary_index=0))
        else:
            if not opened.has_part:
                part = {"type": "reasoning_text", "text": ""}
                frames.append(_part("content_part.added", opened, part, 0))
            frames.append(self._delta("reasoning_text", opened, text, content_index=0))
        opened.has_part = True
        return frames

    def _progress(self, event: events.ItemProgress) -> list[Frame]:
        opened = self._open[event.id]
        return [(f"response.{opened.type}.{event.phase}", {**_at(opened), **event.data})]

    def _finish(self, event: events.ItemFinished, state: RunState) -> list[Frame]:
        item = state.turns[-1].item(event.id)
        if (
            isinstance(item, Call)
            and item.type != FUNCTION_CALL
            and event.output is None
            and (event.status == "completed")
        ):
            return []
        opened = self._open.pop(event.id)
        if isinstance(item, Compaction) and event.status != "completed":
            return []
        status = "completed" if event.status == "completed" else "incomplete"
        finished = self._item(item, opened, status)
        if event.status != events.INTERRUPTED:
            self._add_output(event.id, finished)
        done = {"output_index": opened.index, "item": shown(finished, self._include)}
        return [*self._endings(item, opened, finished), ("response.output_item.done", done)]

    def _endings(self, item: Item, opened: _Open, finished: JSON) -> list[Frame]:
        """Return the events that end an item's parts."""
        if isinstance(item, Message):
            return self._end_parts(opened, finished)
        if isinstance(item, Reasoning):
            return self._end_reasoning(item, opened)
        if isinstance(item, Compaction):
            return []
        at = _at(opened)
        if opened.type == FUNCTION_CALL:
            done = {**at, "name": finished["name"], "arguments": finished["arguments"]}
            return [("response.function_call_arguments.done", done)]
        if opened.type == "custom_tool_call":
            text = finished["input"]
            return [
                self._delta("custom_tool_call_input", opened, text),
                ("response.custom_tool_call_input.done", {**at, "input": text}),
            ]
        if opened.type == "shell_call":
            return self._shell_commands(opened, finished["action"]["commands"])
        if item.type == FUNCTION_CALL:  # of the caller, as a tool of another type
            return []
        return [(f"response.{opened.type}.completed", at)] if finished["status"] == "completed" else []

    def _shell_commands(self, opened: _Open, commands: list[str]) -> list[Frame]:
        frames: list[Frame] = []
        for index, command in enumerate(commands):
            at = {"output_index": opened.index, "command_index": index}
            frames.append(("response.shell_call_command.added", {**at, "command": ""}))
            frames.append(("response.shell_call_command.delta", {**at, "delta": command}))
            frames.append(("response.shell_call_command.done", {**at, "command": command}))
        return frames

    def _end_parts(self, opened: _Open, finished: JSON) -> list[Frame]:
        frames: list[Frame] = []
        for index, part in enumerate(shown(finished, self._include)["content"]):
            is_text = part["type"] == "output_text"
            if is_text and not opened.has_part:  # an answer without text
                frames.append(_part("content_part.added", opened, objects.part_of_text("", [], []), index))
            at = {**_at(opened), "content_index": index}
            if is_text:
                done = {**at, "text": part["text"], "logprobs": part.get("logprobs") or []}
                frames.append(("response.output_text.done", done))
            else:
                frames.append(("response.refusal.done", {**at, "refusal": part["refusal"]}))
            frames.append(_part("content_part.done", opened, part, index))
        return frames

    def _end_reasoning(self, item: Reasoning, opened: _Open) -> list[Frame]:
        if not opened.has_part:
            return []
        text, at = str(item.text), _at(opened)
        if not self._summarizes:
            part = {"type": "reasoning_text", "text": text}
            done = {**at, "content_index": 0, "text": text}
            return [("response.reasoning_text.done", done), _part("content_part.done", opened, part, 0)]
        at["summary_index"] = 0
        return [
            ("response.reasoning_summary_text.done", {**at, "text": text}),
            ("response.reasoning_summary_part.done", {**at, "part": {"type": "summary_text", "text": text}}),
        ]

    # --- objects ---

    def _item(self, item: Item, opened: _Open, status: str) -> JSON:
        """Return an item in its stored form; one in progress has no content."""
        if isinstance(item, Message):
            content = [] if status == "in_progress" else _content(item, opened)
            return objects.message_item(opened.id, content, status)
        if isinstance(item, Reasoning):
            return self._reasoning(item, opened, status)
        if isinstance(item, Compaction):
            return self._compaction(item, opened, status)
        if item.type == FUNCTION_CALL:
            begun = status == "in_progress"
            call = self._tools.item(item.name, "" if begun else str(item.arguments), item.call_id)
            if begun and call["type"] == FUNCTION_CALL:
                call["arguments"] = ""
            extra = {EXTRA: item.extra} if item.extra else {}
            return {"id": opened.id, **call, "status": status, **extra}
        found = item.details.get("results") or []
        results = [objects.file_search_result(each) for each in found] if status == "completed" else None
        return objects.file_search_item(opened.id, status, _queries(str(item.arguments)), results)

    def _reasoning(self, item: Reasoning, opened: _Open, status: str) -> JSON:
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

    def _compaction(self, item: Compaction, opened: _Open, status: str) -> JSON:
        sealed = ""
        if self._seal is not None and status != "in_progress":
            sealed = self._seal("compaction", {"summary": str(item.text), **item.details})
        return {"id": opened.id, "type": "compaction", "encrypted_content": sealed}

    # --- frames ---

    def _delta(self, name: str, opened: _Open, text: str, **more: Any) -> Frame:
        return f"response.{name}.delta", {**_at(opened), **more, "delta": text}

    def _plain_delta(self, opened: _Open, text: str, number: int) -> NumberedFrame:
        """Return the frame of a delta of a message's text, which has no logprobs."""
        padding = b""
        if self._pads:
            padding = b',"obfuscation":"%s"' % self._padding(number, len(text)).encode()
        values = (number, opened.id.encode(), opened.index, orjson.dumps(text), padding)
        return NumberedFrame(number, TEXT_DELTA % values)

    def _padding(self, number: int, length: int) -> str:
        """Return characters that make a delta's length a multiple; the same for each replay."""
        start = number % PADDED_TO
        return self._noise[start : start + PADDED_TO - length % PADDED_TO]

    def _numbered(self, frames: list[Frame], first: int) -> list[NumberedFrame]:
        return [self._numbered_frame(number, *frame) for number, frame in enumerate(frames, first)]

    def _numbered_frame(self, number: int, name: str, data: JSON) -> NumberedFrame:
        event = {"type": name, "sequence_number": number, **data}
        if self._pads and name.endswith(".delta"):
            event["obfuscation"] = self._padding(number, len(data["delta"]))
        ends = name in ("response.completed", "response.failed", "response.incomplete")
        return NumberedFrame(number, sse(event), ends)


def sse(event: JSON) -> bytes:
    """Return an event of a stream."""
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), orjson.dumps(event))


def _at(opened: _Open) -> JSON:
    return {"item_id": opened.id, "output_index": opened.index}


def _part(name: str, opened: _Open, part: JSON, index: int) -> Frame:
    return f"response.{name}", {**_at(opened), "content_index": index, "part": part}


def _content(item: Message, opened: _Open) -> list[JSON]:
    parts: list[JSON] = []
    if item.text or not item.refusal:
        text = _cut(str(item.text), opened.spans)
        logprobs = [_logprob(each) for each in item.logprobs]
        parts.append(objects.part_of_text(text, opened.annotations, logprobs))
    if item.refusal:
        parts.append({"type": "refusal", "refusal": str(item.refusal)})
    return parts


def _cut(text: str, spans: list[tuple[int, int]]) -> str:
    """Return the text without these spans of characters, which are in order."""
    if not spans:
        return text
    starts = [0, *(last for _, last in spans)]
    ends = [*(first for first, _ in spans), len(text)]
    return "".join(text[start:end] for start, end in zip(starts, ends, strict=True))


def _annotation(mark: JSON, opened: _Open, state: RunState) -> JSON:
    """Return the annotation of a mark; its index counts the characters before it, without marks."""
    before = sum(last - first for first, last in opened.spans if first < mark["start_index"])
    file_id = mark["file_citation"]["file_id"]
    return {
        "type": "file_citation",
        "index": mark["start_index"] - before,
        "file_id": file_id,
        "filename": _filename(file_id, state),
    }


def _filename(file_id: str, state: RunState) -> str:
    results = (
        result for turn in state.turns for call in turn.calls for result in call.details.get("results") or ()
    )
    return next((str(each["file_name"]) for each in results if each["file_id"] == file_id), "")


def _logprob(logprob: JSON) -> JSON:
    """Return a token's logprob with all its members."""
    top = [_logprob_of(each) for each in logprob.get("top_logprobs") or ()]
    return {**_logprob_of(logprob), "top_logprobs": top}


def _logprob_of(token: JSON) -> JSON:
    text = token["token"]
    octets = token.get("bytes")
    return {
        "token": text,
        "logprob": LEAST_LOGPROB if token.get("logprob") is None else token["logprob"],
        "bytes": list(text.encode()) if octets is None else octets,
    }


def _queries(arguments: str) -> list[str]:
    """Return the queries of a call of file_search, as far as they can be read."""
    try:
        given = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return []
    queries = given.get("queries", given.get("query")) if isinstance(given, dict) else None
    queries = [queries] if isinstance(queries, str) else queries
    return [query for query in queries if isinstance(query, str)] if isinstance(queries, list) else []
