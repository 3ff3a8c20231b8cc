"""What the engine needs of an API: how its runs are rendered, and what they send to a model."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from inference.engine.events import Event, ItemDelta
from inference.engine.feeds import NumberedFrame
from inference.engine.state import History, RunState, Settings
from inference.gateway import Credentials
from persistence.store import Document, Key, Operation
from persistence.types import JSON

WRITTEN_AHEAD = "written_ahead"
"""State of an object that is written before the part that the lease guards: the events of the same write."""


@dataclass(slots=True)
class ObjectChange:
    """An object of the API that is to be stored.

    With `ahead`, an engine without transactions stores it before the part that the lease guards.
    """

    key: Key
    value: JSON
    state: JSON = field(default_factory=dict)
    parent: str = ""
    labels: frozenset[str] = frozenset()
    ahead: bool = False


class Renderer(Protocol):
    """Renders the events of one run, from the first one or from a stored state on.

    Rendering is deterministic: the same events give the same frames on any worker, live or from the log.
    """

    run: JSON
    """The run's object as of the last event."""

    changes: dict[Key, ObjectChange]
    """The objects that events created or changed, without the run; cleared once they are stored."""

    open_objects: dict[Key, ObjectChange]
    """The objects that are not finished."""

    def render(self, event: Event, state: RunState) -> list[NumberedFrame]:
        """Return what clients see of an event, numbered from `state.shown` on.

        `state` is the run's after the event.
        """


class Api(Protocol):
    """What the engine needs to know of an API."""

    kind: str
    """The kind of its runs' jobs."""

    runs: str
    """The collection of its runs' objects."""

    calls_end_runs: bool
    """Whether a run that calls the caller's functions is completed; else it waits for their outputs."""

    outlives_conversation: bool
    """Whether a run ends as usual after its conversation was deleted.

    Its end is written before the change of its conversation, which readers can complete from it.
    """

    ends_with_mark: bool
    """Whether the last event of a stream is only a mark, which a stream without other events has too."""

    def conversation(self, run: Document) -> Key | None:
        """Return the key of the conversation that the run belongs to, if it has one."""

    def renderer(self, project: str, run: JSON, state: RunState) -> Renderer:
        """Return the renderer of a run as it is stored, with nothing open."""

    def replay(self, project: str, objects: JSON) -> tuple[RunState, Renderer]:
        """Return state and renderer for a log from its RunCreated on, whose objects are given."""

    def move(self, run: JSON, status: str, at: int) -> JSON:
        """Return the run's object in another status; IllegalTransition."""

    def settings(self, run: Document) -> Settings:
        """Return what a run asks of its model."""

    async def history(self, run: Document, window: int) -> History:
        """Return the conversation before the run, not much more than `window` tokens."""

    async def check(self, run: Document, state: RunState, credentials: Credentials | None) -> JSON:
        """Return what there is to say of a run whose last turn ends; its items are in `state`."""

    def ending(self, number: int, key: Key, run: Document | None) -> list[NumberedFrame]:
        """Return the end of a stream whose log has none; `run` is None if it was deleted."""

    def after_end(self, project: str, run: JSON) -> Sequence[Operation]:
        """Return what is written together with the end of a run, whose object is given."""

    async def newest_output(self, run: Document) -> Document | None:
        """Return the newest of the run's objects that are written ahead."""

    def missing_delta(self, output: Document, state: RunState) -> ItemDelta | None:
        """Return the text that such an object has and the state lacks, None if there is none."""
