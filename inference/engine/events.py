"""The events of a run's log, in terms that belong to no API.

    RunCreated RunMoved ...
    TurnStarted  (ItemStarted ItemDelta... ItemProgress... ItemFinished)...  TurnFinished
    OutputsSubmitted

Each API has a renderer that turns them into what its clients see. Times are seconds since the epoch.
"""

from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

import orjson

from inference.engine.items import Item, item_from_json, item_to_json
from persistence.types import JSON

INTERRUPTED = "interrupted"
"""How items and turns finish whose worker was lost; a new turn replaces them."""


COMPACTED = "compacted"
"""How a turn finishes in which the model summarized the conversation."""

OPENED = "opened"
"""How a turn without the model finishes: it has lists of tools, and calls that were approved."""


@dataclass(frozen=True, slots=True)
class RunCreated:
    """A run was created. `objects` are the API's objects at that time; only its renderer reads them."""

    objects: JSON


@dataclass(frozen=True, slots=True)
class RunMoved:
    """A run's status changed; `error` and `reason` say why it failed or ended early."""

    status: str
    at: int
    error: JSON | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The model is asked.

    After an interrupted turn that has a finished message, the turn continues under a new id: with that
    message, and without its other items.
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
    """An item grew. `part` is what grew: text, refusal, arguments, audio, image, blocks.

    `pieces` are the characters of each piece, if the text arrived in several: each is shown by itself.
    """

    id: str
    text: str
    part: str = "text"
    annotations: list[JSON] = field(default_factory=list)
    logprobs: list[JSON] = field(default_factory=list)
    pieces: list[int] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        """The pieces of the text."""
        if not self.pieces:
            return [self.text]
        return [self.text[start:end] for start, end in pairwise(accumulate(self.pieces, initial=0))]

    def split(self) -> "list[ItemDelta]":
        """Return a delta for each piece of the text."""
        if not self.pieces:
            return [self]
        return [replace(self, text=text, pieces=[]) for text in self.texts]


@dataclass(frozen=True, slots=True)
class ItemProgress:
    """Progress of a server tool's call: `searching`, `in_progress`, an output's delta, a log."""

    id: str
    phase: str
    data: JSON = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ItemFinished:
    """An item ended: completed, incomplete, failed, cancelled, expired or interrupted.

    `tokens` are those of `Usage`, where the item is the only one of its turn. `reason` is the finish
    of an answer that is incomplete, `error` why an item failed. `output`, `details` and `images` are those
    of a call that the server ran.
    """

    id: str
    status: str
    at: int
    output: str | None = None
    details: JSON = field(default_factory=dict)
    tokens: tuple[int, ...] = ()
    reason: str = ""
    error: JSON | None = None
    images: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The model's answer is complete, and the server's tools have answered their calls.

    `service_tier` is what the provider says it served the request with, `checks` what the API found out about
    a turn that ends the run.
    """

    finish: str
    at: int
    tokens: tuple[int, ...] = ()
    service_tier: str = ""
    checks: JSON = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OutputsSubmitted:
    """The caller submitted the outputs of calls, by call id."""

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
    """Return the item that the event starts."""
    return item_from_json(event.item)


def encode(event: Event) -> bytes:
    """Return an event as a line of the log."""
    return b"%b" % orjson.dumps((type(event).__name__, event))  # a copy: of orjson each takes 4 kB


def decode(line: bytes) -> Event:
    """Return the event of a line of the log; ValueError for a line that another version wrote."""
    try:
        name, fields = orjson.loads(line)
        if "tokens" in fields:
            fields["tokens"] = tuple(fields["tokens"])
        return _EVENTS[name](**fields)
    except (KeyError, TypeError) as exc:
        raise ValueError(f"not an event of this version: {line[:100]!r}") from exc
