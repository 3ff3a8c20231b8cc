import pytest

from inference.assistants.objects import moved
from inference.engine.errors import IllegalTransition
from inference.engine.statuses import ENDED, SETTLED, TRANSITIONS

RUN = {
    "status": "queued",
    "started_at": None,
    "expires_at": 700,
    "completed_at": None,
    "failed_at": None,
    "cancelled_at": None,
    "required_action": None,
}


def test_every_status_but_the_first_is_reached_from_another() -> None:
    reached = {target for targets in TRANSITIONS.values() for target in targets}
    assert reached == set(TRANSITIONS)


def test_a_run_that_has_ended_never_changes_its_status() -> None:
    assert {"completed", "incomplete", "failed", "cancelled", "expired"} == ENDED
    assert {"requires_action"} == SETTLED - ENDED
    for status in ENDED:
        for target in TRANSITIONS:
            with pytest.raises(IllegalTransition):
                moved({**RUN, "status": status}, target, 100)


def test_a_status_change_sets_its_timestamp_and_clears_stale_fields() -> None:
    running = moved(RUN, "in_progress", 100)
    assert (running["started_at"], running["expires_at"]) == (100, 700)
    waiting = moved(running, "requires_action", 110, required_action={"type": "submit_tool_outputs"})
    again = moved(moved(waiting, "queued", 120), "in_progress", 130)
    assert (again["started_at"], again["required_action"]) == (100, None)
    done = moved(again, "completed", 140)
    assert (done["completed_at"], done["expires_at"], done["failed_at"]) == (140, None, None)
    assert RUN["status"] == "queued", "the run that was read is not changed"
