"""What a model produces in a run, item by item; names and fields are those of the Responses API."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from inference.gateway.answers.thinking import joined
from inference.gateway.chat_members import PHASE
from persistence.types import JSON

MESSAGE = "message"
REASONING = "reasoning"
FUNCTION_CALL = "function_call"
COMPACTION = "compaction"
TOOL_LIST = "mcp_list_tools"
APPROVAL_REQUEST = "mcp_approval_request"

GROWING_PARTS = frozenset({"text", "refusal", "arguments"})
"""Members of items that are texts, and grow by deltas."""

CALLER_ANSWERS = frozenset({FUNCTION_CALL, "custom_tool_call", APPROVAL_REQUEST})
"""Calls whose output the caller submits; the server answers all others."""


APPROVE, DENY = "approve", "deny"
"""The outputs of a request for approval."""

NOT_APPROVED = "The user did not approve this call."


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the provider counted them; `cached` are of the prompt, `reasoning` of the completion."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt + other.prompt,
            self.completion + other.completion,
            self.cached + other.cached,
            self.reasoning + other.reasoning,
        )


class GrowingText:
    """A text built of pieces, joined when it is read: appending costs no more than the piece's length."""

    __slots__ = ("_pieces", "length")

    def __init__(self, text: str = "") -> None:
        self._pieces = [text] if text else []
        self.length = len(text)

    def add(self, piece: str) -> None:
        """Append a piece."""
        self._pieces.append(piece)
        self.length += len(piece)

    def __str__(self) -> str:
        if len(self._pieces) > 1:
            self._pieces[:] = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def __bool__(self) -> bool:
        return self.length > 0


@dataclass(slots=True)
class Message:
    """An answer of the model. `media` are its audio and image parts, as `{"type", "data"}`.

    `phase` is the provider's word for what the message is: `commentary` or `final_answer`.
    """

    id: str
    text: GrowingText = field(default_factory=GrowingText)
    refusal: GrowingText = field(default_factory=GrowingText)
    annotations: list[JSON] = field(default_factory=list)
    logprobs: list[JSON] = field(default_factory=list)
    media: list[JSON] = field(default_factory=list)
    phase: str | None = None
    status: str = "in_progress"
    type: str = MESSAGE


@dataclass(slots=True)
class Reasoning:
    """The model's reasoning ahead of an answer; `blocks` are signed for its provider's next turn."""

    id: str
    text: GrowingText = field(default_factory=GrowingText)
    blocks: list[JSON] = field(default_factory=list)
    status: str = "in_progress"
    type: str = REASONING


@dataclass(slots=True)
class Call:
    """A call of a tool. `output` is what the model reads, `details` what the item shows of the result.

    `extra` are members of the call that its provider wants back in the next turn, such as a signature.
    `images` are data URLs that the model sees with the output, `error` is why the server's call failed.
    """

    id: str
    type: str
    call_id: str
    name: str
    arguments: GrowingText = field(default_factory=GrowingText)
    output: str | None = None
    details: JSON = field(default_factory=dict)
    extra: JSON = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    error: JSON | None = None
    status: str = "in_progress"

    @property
    def is_pending(self) -> bool:
        """Whether the caller still has to submit its output."""
        return self.type in CALLER_ANSWERS and self.output is None

    @property
    def is_approved(self) -> bool:
        """Whether it is a request for approval that was approved: the call itself is in a later turn."""
        return self.type == APPROVAL_REQUEST and self.output == APPROVE


@dataclass(slots=True)
class Compaction:
    """The model's summary of the conversation before it.

    `details` are what the summary does not cover: the texts of `system` messages, and of the user's `latest`
    message, if it stays as it is.
    """

    id: str
    text: GrowingText = field(default_factory=GrowingText)
    details: JSON = field(default_factory=dict)
    status: str = "in_progress"
    type: str = COMPACTION


@dataclass(slots=True)
class ToolList:
    """The tools of an MCP server, shown ahead of what the model makes.

    `details` are `server_label`, `tools`, and `error` if they could not be listed.
    """

    id: str
    details: JSON = field(default_factory=dict)
    status: str = "in_progress"
    type: str = TOOL_LIST


Item = Message | Reasoning | Call | Compaction | ToolList


@dataclass(slots=True)
class Turn:
    """One answer of the model with its items, as the next request shows it again."""

    id: str
    items: list[Item] = field(default_factory=list)
    finish: str = ""
    usage: Usage = field(default_factory=Usage)

    @property
    def calls(self) -> list[Call]:
        """Its calls, in their order."""
        return [item for item in self.items if isinstance(item, Call)]

    @property
    def compaction(self) -> Compaction | None:
        """The summary, if the turn has made one."""
        return next((item for item in self.items if isinstance(item, Compaction)), None)

    @property
    def pending(self) -> list[Call]:
        """The calls that wait for the caller."""
        return [call for call in self.calls if call.is_pending]

    @property
    def finished_messages(self) -> list[Item]:
        """The messages that are finished."""
        return [item for item in self.items if isinstance(item, Message) and item.status == "completed"]

    @property
    def open(self) -> list[Item]:
        """The items that have not ended."""
        return [item for item in self.items if item.status == "in_progress"]

    def item(self, id: str) -> Item:
        """Return an item of the turn."""
        for item in reversed(self.items):  # the newest are asked for most
            if item.id == id:
                return item
        raise KeyError(id)

    def to_messages(self) -> list[JSON]:
        """The turn as chat messages: the assistant's, then one of role `tool` for each call.

        Images of outputs follow as the user's: tools answer texts.
        """
        texts = [item for item in self.items if isinstance(item, Message)]
        calls = [call for call in self.calls if not call.is_approved]
        if not texts and not calls:
            return []
        message: JSON = {"role": "assistant", "content": _content(texts) or None}
        if calls:
            message["tool_calls"] = [_as_tool_call(call) for call in calls]
            message |= self._reasoning()
        answers = [{"role": "tool", "tool_call_id": call.call_id, "content": _answer(call)} for call in calls]
        return [message, *answers, *_images(calls)]

    def _reasoning(self) -> JSON:
        """Return what providers want back with the calls that follow it: signed blocks, or plain text."""
        reasoning = [item for item in self.items if isinstance(item, Reasoning)]
        blocks = [block for item in reasoning for block in item.blocks]
        if blocks:
            return {"thinking_blocks": joined(blocks)}
        text = "\n".join(str(item.text) for item in reasoning if item.text)
        return {"reasoning_content": text} if text else {}


def _content(messages: list[Message]) -> str | list[JSON]:
    """Return the texts of messages as one; as parts if they have phases."""
    if not any(item.phase for item in messages):
        return "".join(str(item.text) or str(item.refusal) for item in messages)
    parts: list[JSON] = []
    for item in messages:
        part = {"type": "text", "text": str(item.text) or str(item.refusal)}
        parts.append(part | ({PHASE: item.phase} if item.phase else {}))
    return parts


def _images(calls: list[Call]) -> list[JSON]:
    parts: list[JSON] = []
    for call in calls:
        if call.images:
            parts.append({"type": "text", "text": f"[Images of the output '{call.call_id}' of {call.name}:]"})
            parts += [{"type": "image_url", "image_url": {"url": url}} for url in call.images]
    return [{"role": "user", "content": parts}] if parts else []


def _answer(call: Call) -> str:
    return NOT_APPROVED if call.type == APPROVAL_REQUEST else call.output or ""


def _as_tool_call(call: Call) -> JSON:
    function = {"name": call.name, "arguments": str(call.arguments) or "{}"}
    return {**call.extra, "id": call.call_id, "type": "function", "function": function}


# --- as JSON ---


def item_to_json(item: Item) -> JSON:
    """Return an item as it is stored: what is empty is left out."""
    fields = {name: getattr(item, name) for name in item.__slots__}
    stored = {name: str(value) if isinstance(value, GrowingText) else value for name, value in fields.items()}
    return {name: value for name, value in stored.items() if value or value == ""} | {"id": item.id}


def item_from_json(value: JSON) -> Item:
    """Return the item that was stored."""
    fields: dict[str, Any] = {
        name: GrowingText(each) if name in GROWING_PARTS else each for name, each in value.items()
    }
    kind: type[Item] = _CLASSES.get(value["type"], Call)
    return kind(**fields)


def turn_to_json(turn: Turn) -> JSON:
    """Return a turn as it is stored."""
    items = [item_to_json(item) for item in turn.items]
    return {"id": turn.id, "items": items, "finish": turn.finish, "usage": asdict(turn.usage)}


def turn_from_json(value: JSON) -> Turn:
    """Return the turn that was stored."""
    items = [item_from_json(item) for item in value["items"]]
    return Turn(value["id"], items, value["finish"], Usage(**value["usage"]))


def pending_calls(turns: Sequence[Turn]) -> list[Call]:
    """Return the calls of the last turn that wait for the caller."""
    return turns[-1].pending if turns else []


def calls_before(turns: Sequence[Turn], message: Message) -> list[Call]:
    """Return the calls since the message before this one."""
    calls: list[Call] = []
    for item in (item for turn in turns for item in turn.items):
        if item.id == message.id:
            break
        if isinstance(item, Message):
            calls = []
        elif isinstance(item, Call):
            calls.append(item)
    return calls


_CLASSES: dict[str, type[Item]] = {
    MESSAGE: Message,
    REASONING: Reasoning,
    COMPACTION: Compaction,
    TOOL_LIST: ToolList,
}
