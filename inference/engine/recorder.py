"""Applies events to a run's state, renders them, and collects the result until it is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from inference.engine.events import (
    INTERRUPTED,
    OPENED,
    Event,
    ItemDelta,
    OutputsSubmitted,
    RunMoved,
    TurnFinished,
    encode,
)
from inference.engine.feeds import NumberedFrame
from inference.engine.items import GROWING_PARTS
from inference.engine.renderer import ObjectChange, Renderer
from inference.engine.state import RunState
from persistence.store import Key
from persistence.types import JSON

MERGED = 2000
"""Events of a turn that is held back, after which the pieces of its texts are joined."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is written at once: events from number `first` on, with their log lines, frames and objects.

    `run` and `state` are the run's after these events; `state` is None if it need not be stored.
    """

    first: int
    events: Sequence[Event]
    lines: Sequence[bytes]
    frames: Sequence[NumberedFrame]
    changes: Mapping[Key, ObjectChange]
    run: JSON
    state: JSON | None


class Recorder:
    """Records the events of a run, beginning with its stored state.

    The events of a *live* run are rendered as they come. Those of any other run are held back until their
    turn ends, so no client has seen anything of a turn whose worker is lost.
    """

    def __init__(self, state: RunState, renderer: Renderer) -> None:
        self.state = state
        self.renderer = renderer
        self._run_changed = False
        self._held: list[Event] = []
        self._merge_at = MERGED
        self._events: list[Event] = []
        self._lines: list[bytes] = []
        self._frames: list[NumberedFrame] = []

    @property
    def has_frames(self) -> bool:
        """Whether frames for clients wait to be written."""
        return bool(self._frames)

    @property
    def has_events(self) -> bool:
        """Whether events wait to be written."""
        return bool(self._lines)

    def record(self, event: Event) -> None:
        """Apply and render an event; it is written with the next `take`."""
        self.state.apply(event)
        if not self.state.live and self.state.turn is not None:
            self._held.append(event)
            if len(self._held) >= self._merge_at:
                self._held = _merged(self._held)
                self._merge_at = len(self._held) + MERGED
            return
        if self._held:
            held, self._held, self._merge_at = self._held, [], MERGED
            for each in _merged(held):
                self._render(each)
        self._render(event)

    def replay(self, event: Event) -> list[NumberedFrame]:
        """Apply an event that is in the log already, and return its frames."""
        self.state.apply(event)
        self.state.sequence += 1
        frames = self._frames_of(event)
        self.renderer.changes.clear()
        return frames

    def discard(self) -> None:
        """Drop a turn that is held back."""
        if self._held:
            self._held, self._merge_at = [], MERGED
            self.state.turns.pop()

    def take(self) -> Batch:
        """Return what was recorded since the last call."""
        first = self.state.sequence - len(self._lines)
        changes = dict(self.renderer.changes)
        state = self.state.to_json() if self._run_changed else None
        batch = Batch(first, self._events, self._lines, self._frames, changes, self.renderer.run, state)
        self._events, self._lines, self._frames, self._run_changed = [], [], [], False
        self.renderer.changes.clear()
        return batch

    def _render(self, event: Event) -> None:
        self._frames += self._frames_of(event)
        self._events.append(event)
        self._lines.append(encode(event))
        self.state.sequence += 1
        self._run_changed = self._run_changed or self._changes_run(event)

    def _changes_run(self, event: Event) -> bool:
        """Return whether the run is stored again with an event; never in the middle of a turn.

        Recovery reads the log from the stored state's number on, so that state must be between two turns.
        """
        if isinstance(event, TurnFinished):
            if event.finish in (INTERRUPTED, OPENED):
                return event.finish == OPENED
            return bool(self.state.turns[-1].calls)
        return isinstance(event, RunMoved | OutputsSubmitted)

    def _frames_of(self, event: Event) -> list[NumberedFrame]:
        frames = self.renderer.render(event, self.state)
        self.state.shown += len(frames)
        return frames


def _merged(events: list[Event]) -> list[Event]:
    """Return the events, with consecutive deltas of a text joined."""
    merged: list[Event] = []
    for identity, group in groupby(events, _growing_text):
        deltas = list(group)
        if identity is not None and isinstance(deltas[0], ItemDelta):
            texts = [each for each in deltas if isinstance(each, ItemDelta)]
            annotations = [annotation for each in texts for annotation in each.annotations]
            logprobs = [logprob for each in texts for logprob in each.logprobs]
            text = "".join(each.text for each in texts)
            whole = replace(deltas[0], text=text, annotations=annotations, logprobs=logprobs, pieces=[])
            merged.append(whole)
        else:
            merged += deltas
    return merged


def _growing_text(event: Event) -> tuple[str, str] | None:
    """Return which text a delta extends, None for any other event."""
    if isinstance(event, ItemDelta) and event.part in GROWING_PARTS:
        return event.id, event.part
    return None
