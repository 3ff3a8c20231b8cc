"""The events of a run's log: what happened, in words that no API owns.

    RunCreated RunMoved ...
    TurnStarted  (ItemStarted ItemDelta... ItemProgress... ItemFinished)...  TurnFinished
    OutputsSubmitted

A log is written once and read by every API's renderer. Times are seconds since the epoch.
"""

from dataclasses import dataclass, field

import orjson

from inference.engine.items import Item, item_from_json, item_to_json
from persistence.types import JSON

INTERRUPTED = "interrupted"
"""How an item or a turn finished whose worker was lost: a new turn follows in its place."""


@dataclass(frozen=True, slots=True)
class RunCreated:
    """A run was made. `objects` are the API's own objects as of then; the engine does not read them."""

    objects: JSON


@dataclass(frozen=True, slots=True)
class RunMoved:
    """A run came to a status; `error` and `reason` say why it failed or ended early."""

    status: str
    at: int
    error: JSON | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The model is asked, again where a turn was interrupted of which a message is finished.

    Then the turn goes on under a new id, with that message and without its other items.
    """

    id: str
    at: int


@dataclass(frozen=True, slots=True)
class ItemStarted:
    """The model began an item."""

    item: JSON
    at: int


@dataclass(frozen=True, slots=True)
class ItemDelta:
    """An item grew. `part` is what grew: text, refusal, arguments, audio, image or logprobs."""

    id: str
    text: str
    part: str = "text"
    annotations: list[JSON] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ItemProgress:
    """A tool of the server tells how far a call is: `searching`, `in_progress`, an output's delta, a log."""

    id: str
    phase: str
    data: JSON = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ItemFinished:
    """An item ended: completed, incomplete, failed, cancelled, expired or interrupted.

    `tokens` are prompt and completion, where the item has a turn's usage to itself. `reason` is the finish
    of an answer that is incomplete, `error` why an item failed.
    """

    id: str
    status: str
    at: int
    output: str | None = None
    details: JSON = field(default_factory=dict)
    tokens: tuple[int, int] = (0, 0)
    reason: str = ""
    error: JSON | None = None


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The model's answer is whole, and the server's tools have answered their calls."""

    finish: str
    at: int
    tokens: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class OutputsSubmitted:
    """The caller handed in the outputs of calls, by call id."""

    outputs: dict[str, str]
    at: int


Event = (
    RunCreated
    | RunMoved
    | TurnStarted
    | ItemStarted
    | ItemDelta
    | ItemProgress
    | ItemFinished
    | TurnFinished
    | OutputsSubmitted
)

_EVENTS: dict[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        RunCreated,
        RunMoved,
        TurnStarted,
        ItemStarted,
        ItemDelta,
        ItemProgress,
        ItemFinished,
        TurnFinished,
        OutputsSubmitted,
    )
}


def started(item: Item, at: int) -> ItemStarted:
    """Return the event of an item's start."""
    return ItemStarted(item_to_json(item), at)


def started_item(event: ItemStarted) -> Item:
    """Return a fresh item as it was at its start."""
    return item_from_json(event.item)


def encode(event: Event) -> bytes:
    """Return an event as a line of the log."""
    return orjson.dumps((type(event).__name__, event))


def decode(line: bytes) -> Event:
    """Return the event of a line of the log; ValueError for a line that another version wrote."""
    try:
        name, fields = orjson.loads(line)
        if "tokens" in fields:
            fields["tokens"] = tuple(fields["tokens"])
        return _EVENTS[name](**fields)
    except (KeyError, TypeError) as exc:
        raise ValueError(f"not an event of this version: {line[:100]!r}") from exc
