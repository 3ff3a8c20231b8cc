"""The state of a run, stored with its object and changed by the events of its log."""

from dataclasses import dataclass, field
from typing import Any, Self

from inference.engine import events
from inference.engine.items import (
    Call,
    GrowingText,
    Item,
    Message,
    Reasoning,
    ToolList,
    Turn,
    Usage,
    pending_calls,
    turn_from_json,
    turn_to_json,
)
from inference.engine.statuses import ENDED
from persistence.types import JSON

ACTIVE_RUN = "active_run"
"""State of a conversation: the id of its active run."""

FENCE = "fence"
"""State of a conversation: the token of its active run's job, after a takeover by another worker.

An engine without transactions over partitions adds an item only to the conversation's known version, so
this change stops the run's earlier owner.
"""


@dataclass(frozen=True, slots=True)
class CompactionRule:
    """When a run's conversation is compacted: before a turn of more than `threshold` tokens.

    With `ends_run` it is compacted at once, and nothing else is done.
    """

    threshold: int = 0
    ends_run: bool = False


@dataclass(frozen=True, slots=True)
class ApprovedCall:
    """A call that the caller approved: `id` is that of the request for approval, `name` the function's."""

    id: str
    name: str
    arguments: str
    details: JSON


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run sends to its model, and the bounds that its caller set.

    `tools` are the run's entries as the API has them, `resources` what they may use, `options` sampling
    parameters as chat completions name them. `tool_choice` is "auto", "none", "required", or a tool's type
    or function. `expires_at` is in seconds since the epoch. `max_tool_calls` bounds the calls of the server's
    tools. With `drops_oldest` the conversation is cut to what fits the model's context; else the provider
    refuses what does not. Without `asks_model` the run completes at once. `approved` are calls
    of earlier runs that the caller approved.
    """

    model: str
    instructions: str
    expires_at: float
    tools: list[JSON] = field(default_factory=list)
    resources: tuple[JSON, ...] = ()
    options: JSON = field(default_factory=dict)
    tool_choice: Any = "auto"
    parallel_tool_calls: bool = True
    response_format: Any = "auto"
    reasoning_effort: str | None = None
    max_completion_tokens: int | None = None
    max_prompt_tokens: int | None = None
    max_tool_calls: int | None = None
    drops_oldest: bool = True
    asks_model: bool = True
    compaction: CompactionRule | None = None
    approved: tuple[ApprovedCall, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """What a run's model reads before its turns.

    `tool_items` are the items of the server's tools among them, where the API has such items. `images` are
    the URLs of its images in their order, if a tool edits them; `file:` and an id name a file of the project.
    """

    messages: list[JSON]
    tool_items: list[JSON] = field(default_factory=list)
    images: list[str] = field(default_factory=list)


@dataclass(slots=True)
class RunState:
    """A run after an event of its log.

    `live` says whether clients get the model's text as it comes. `sequence` is the number of the next event
    in the log, `shown` that of the next event for clients. `turns` are kept until the run ends. `extra` is
    the API's own.
    """

    status: str = "queued"
    live: bool = False
    sequence: int = 0
    shown: int = 0
    turns: list[Turn] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    extra: JSON = field(default_factory=dict)

    @property
    def turn(self) -> Turn | None:
        """The turn that is not finished, if any."""
        return self.turns[-1] if self.turns and not self.turns[-1].finish else None

    @property
    def pending(self) -> list[Call]:
        """The calls whose outputs the caller has to submit."""
        return pending_calls(self.turns)

    def apply(self, event: events.Event) -> None:
        """Apply an event. The caller counts `sequence` and `shown`."""
        if isinstance(event, events.ItemDelta):  # first, as most events are
            _grow(self._turn().item(event.id), event)
            return
        match event:
            case events.RunMoved(status):
                self.status = status
            case events.TurnStarted(id, _):
                kept = self.turn.finished_messages if self.turn is not None else []
                self.turns = [*(turn for turn in self.turns if turn.finish), Turn(id, kept)]
            case events.ItemStarted():
                self._turn().items.append(events.started_item(event))
            case events.ItemFinished():
                _finish(self._turn().item(event.id), event)
            case events.OutputsSubmitted(outputs):
                for call in self.pending:
                    call.output = outputs[call.call_id]
            case events.TurnFinished():
                self._finish_turn(event)
            case _:
                pass

    def _turn(self) -> Turn:
        return self.turns[-1]

    def _finish_turn(self, event: events.TurnFinished) -> None:
        turn = self._turn()
        if event.finish == events.INTERRUPTED:
            self.turns.pop()
            return
        turn.finish, turn.usage = event.finish, Usage(*event.tokens)
        self.usage += turn.usage

    def to_json(self) -> JSON:
        """Return the state as it is stored."""
        usage = self.usage
        turns = [] if self.status in ENDED else [turn_to_json(turn) for turn in self.turns if turn.finish]
        return {
            "status": self.status,
            "live": self.live,
            "sequence": self.sequence,
            "shown": self.shown,
            "turns": turns,
            "usage": [usage.prompt, usage.completion, usage.cached, usage.reasoning],
            "extra": self.extra,
        }

    @classmethod
    def from_json(cls, value: JSON) -> Self:
        """Return the state that was stored."""
        turns = [turn_from_json(turn) for turn in value["turns"]]
        return cls(**{**value, "turns": turns, "usage": Usage(*value["usage"])})


def _grow(item: Item, delta: events.ItemDelta) -> None:
    if delta.part == "blocks" and isinstance(item, Reasoning):
        item.blocks += delta.annotations
        return
    if delta.part in ("audio", "image") and isinstance(item, Message):
        item.media.append({"type": delta.part, "data": delta.text})
        return
    grown: GrowingText = getattr(item, delta.part)
    grown.add(delta.text)
    if isinstance(item, Message):
        if delta.annotations:
            item.annotations += delta.annotations
        if delta.logprobs:
            item.logprobs += delta.logprobs


def _finish(item: Item, event: events.ItemFinished) -> None:
    item.status = event.status
    if isinstance(item, ToolList):
        item.details = event.details
    if isinstance(item, Call) and event.output is not None:
        item.output, item.details, item.images = event.output, event.details, event.images
        item.error = event.error
