"""What an API tells the engine of a run that it starts, and what it gets back."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from inference.engine.attempt import RequestWatch
from inference.engine.state import History, RunState
from inference.gateway import CallerSettings
from persistence.store import Insert, Key, Operation, Replace
from persistence.types import JSON


@dataclass(frozen=True, slots=True)
class RunStart:
    """A run to be started.

    `conversation` is the write that marks the run's conversation as busy with it; `operations` are
    written between it and the run, whose list has the parent `parent`. `objects` go into the log's first
    event, for the renderer. `history` is the conversation, where it was read already.
    With `follows` the caller gets the run's events even if it is not live. `watch` follows
    the first attempt.
    """

    key: Key
    parent: str
    run: JSON
    objects: JSON
    state: RunState
    conversation: Insert | Replace | None = None
    operations: Sequence[Operation] = ()
    caller: CallerSettings | None = None
    history: History | None = None
    follows: bool = False
    watch: RequestWatch | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """A run that was started or continued: its object, and its events if it is streamed."""

    run: JSON
    events: AsyncIterator[bytes] | None
