"""What is kept beside the objects of a run, and never shown: the keys of their documents' `state`."""

from typing import Any

from inference.runs.turns import Turn

JSON = dict[str, Any]

ACTIVE_RUN = "active_run"
"""State of a thread: the id of its active run."""

FENCE = "fence"
"""State of a thread: the token of the job of its active run, once another worker took that over.

An engine without transactions over partitions holds a message to its thread's version, so whoever
had the job before can add none.
"""

LIVE = "live"
"""State of a run: whether somebody is shown what the model says as it comes."""

SEQUENCE = "sequence"
"""State of a run: the number of its next event, as of the run's last change."""

TURNS = "turns"
"""State of a run: its turns so far that called tools, for the next request."""

OPTIONS = "options"
"""State of a run: sampling parameters that the caller has set, as chat completions name them."""

RESOURCES = "resources"
"""State of a run: the `tool_resources` of its assistant and of its thread."""

INCLUDE_RESULTS = "include_results"
"""State of a run: whether events show the content of what file_search finds."""

STEP = "step"
"""State of a run: the id of the step whose calls wait for their outputs; of a message: its step's."""

USAGE = "usage"
"""State of a message: the usage of its step, which is written after it."""

LAST = "last"
"""State of a message with which its run ends: how the model ended it."""

TURN = "turn"
"""State of a message: its turn as the run's TURNS have it, where it calls tools besides."""

CUT_OFF = "cut_off"
"""State of a message whose worker was lost: a whole one follows it, so the model sees only that."""


def run_label(run_id: str) -> str:
    """The label of a thread's messages that a run made."""
    return f"run:{run_id}"


def turns_of(state: JSON) -> list[Turn]:
    """The turns that a run's state holds."""
    return [turn_of(noted) for noted in state[TURNS]]


def turn_of(noted: JSON) -> Turn:
    """A turn of a run's TURNS, or of a message's TURN."""
    return Turn.from_json({name: value for name, value in noted.items() if name != STEP})
