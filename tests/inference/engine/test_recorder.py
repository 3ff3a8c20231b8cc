"""When a run is stored anew, and with what."""

import pytest

from inference.assistants.objects import run_object
from inference.assistants.renderer import AssistantsRenderer
from inference.engine.events import (
    INTERRUPTED,
    Event,
    ItemDelta,
    ItemFinished,
    OutputsSubmitted,
    RunMoved,
    TurnFinished,
    TurnStarted,
    decode,
    encode,
    started,
)
from inference.engine.items import Call, Message
from inference.engine.recorder import MERGED, Recorder
from inference.engine.state import RunState


def recorder(*, live: bool = True) -> Recorder:
    assistant = {"id": "asst_1", "model": "m", "tools": []}
    run = run_object("run_1", "thread_1", assistant, {}, now=1)
    state = RunState(live=live)
    return Recorder(state, AssistantsRenderer("p", run, state))


def record(recorder: Recorder, *events: Event) -> None:
    for event in events:
        recorder.record(event)


CALLED = (
    RunMoved("queued", 1),
    RunMoved("in_progress", 1),
    TurnStarted("turn_1", 1),
    started(Call("fc_1", "function_call", "call_1", "look"), 1),
    ItemFinished("fc_1", "completed", 1),
    TurnFinished("tool_calls", 1),
    RunMoved("requires_action", 1),
    OutputsSubmitted({"call_1": "found"}, 2),
    RunMoved("queued", 2),
    RunMoved("in_progress", 2),
)


def test_a_run_is_never_stored_in_the_middle_of_a_turn() -> None:
    recording = recorder()
    record(recording, *CALLED)
    assert recording.take().state is not None
    record(recording, TurnStarted("turn_2", 3), started(Message("msg_1"), 3), ItemDelta("msg_1", "So"))
    assert recording.take().state is None
    record(recording, ItemFinished("msg_1", INTERRUPTED, 4), TurnFinished(INTERRUPTED, 4))
    record(recording, TurnStarted("turn_3", 4), started(Message("msg_2"), 4), ItemDelta("msg_2", "So"))
    assert recording.take().state is None, "the state that is stored has no turn that goes on"


def test_a_stored_state_continues_where_it_was() -> None:
    recording = recorder()
    record(recording, *CALLED)
    stored = recording.take().state
    assert stored is not None
    state = RunState.from_json(stored)
    assert (state.sequence, state.shown) == (len(CALLED), recording.state.shown)
    assert state.turns[0].to_messages() == recording.state.turns[0].to_messages()
    assert state.turns[0].to_messages()[1]["content"] == "found"


def test_a_turn_that_no_client_has_seen_is_dropped() -> None:
    recording = recorder(live=False)
    record(recording, *CALLED)
    recording.take()
    record(recording, TurnStarted("turn_2", 3), started(Message("msg_1"), 3), ItemDelta("msg_1", "So"))
    recording.discard()
    batch = recording.take()
    assert (list(batch.lines), list(batch.frames), recording.state.turn) == ([], [], None)


@pytest.mark.parametrize("words", [3, 2 * MERGED + 1])
def test_a_background_run_gets_each_text_as_one_delta(words: int) -> None:
    recording = recorder(live=False)
    record(recording, *CALLED)
    recording.take()
    record(recording, TurnStarted("turn_2", 3), started(Message("msg_1"), 3))
    record(recording, *(ItemDelta("msg_1", f"{number} ") for number in range(words)))
    record(recording, ItemFinished("msg_1", "completed", 4), TurnFinished("stop", 4))
    deltas = [event for event in recording.take().events if isinstance(event, ItemDelta)]
    assert [delta.text for delta in deltas] == ["".join(f"{number} " for number in range(words))]


def test_pieces_of_one_event_are_shown_as_events_of_their_own() -> None:
    begun = (TurnStarted("turn_1", 1), started(Message("msg_1"), 1))
    together, apart = recorder(), recorder()
    record(together, *begun, ItemDelta("msg_1", "One two éwo", pieces=[4, 4, 3]))
    record(apart, *begun, *(ItemDelta("msg_1", text) for text in ("One ", "two ", "éwo")))
    assert together.take().frames == apart.take().frames
    again = recorder()
    for event in (*begun, ItemDelta("msg_1", "One two éwo", pieces=[4, 4, 3])):
        again.replay(decode(encode(event)))
    assert again.state.shown == apart.state.shown
