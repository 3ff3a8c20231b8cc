"""What an API gives to the engine: how its runs are rendered, and what they say to a model."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from inference.engine.events import Event, ItemDelta
from inference.engine.state import RunState, Settings
from persistence.store import Document, Key
from persistence.types import JSON

Frame = tuple[str, Any]
"""An event as an API's clients see it: its name and its data."""

WRITTEN_AHEAD = "written_ahead"
"""State of an object that is written ahead of the lease: the events that belong to the same write."""


@dataclass(slots=True)
class ObjectChange:
    """An object of the API as it is to be stored.

    `ahead` says that it is written before what the lease guards, where a write goes step by step.
    """

    key: Key
    value: JSON
    state: JSON = field(default_factory=dict)
    parent: str = ""
    labels: frozenset[str] = frozenset()
    ahead: bool = False


class Renderer(Protocol):
    """Renders the events of one run, from its first or from where a stored state left off.

    Rendering is deterministic: the same events give the same frames, on any worker, live or from the log.
    """

    run: JSON
    """The run's object as of the last event."""

    changes: dict[Key, ObjectChange]
    """The objects that events have made or changed, beside the run; whoever stores them clears it."""

    open_objects: dict[Key, ObjectChange]
    """The objects that have begun and not ended."""

    def render(self, event: Event, state: RunState) -> list[Frame]:
        """Return what clients see of an event; `state` is the run's behind it."""


class Api(Protocol):
    """What the engine needs to know of an API."""

    kind: str
    """The kind of its runs' jobs."""

    runs: str
    """The collection of its runs' objects."""

    conversations: str
    """The collection of the objects that its runs' conversations are; a run's parent is one of them."""

    def renderer(self, project: str, run: JSON, state: RunState) -> Renderer:
        """Return the renderer of a run as it is stored, with nothing open."""

    def replay(self, project: str, objects: JSON) -> tuple[RunState, Renderer]:
        """Return state and renderer for a log from its RunCreated on, whose objects are given."""

    def move(self, run: JSON, status: str, at: int) -> JSON:
        """Return the run's object in another status; IllegalTransition."""

    def settings(self, run: Document) -> Settings:
        """Return what a run asks of its model."""

    async def history(self, run: Document, window: int) -> list[JSON]:
        """Return what was said ahead of the run as chat messages, not much more than `window` tokens."""

    async def newest_output(self, run: Document) -> Document | None:
        """Return the newest object of the run that is written ahead of the lease."""

    def missing_delta(self, output: Document, state: RunState) -> ItemDelta | None:
        """Return what such an object says beyond the state, None for nothing."""
