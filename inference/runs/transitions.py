"""The statuses of a run, and the one function that moves a run between them.

queued ──────────► in_progress ──► completed | incomplete | failed
  ▲                  │     ▲
  │                  ▼     │ (a worker was lost: the next one goes on in in_progress)
  └── requires_action
queued | in_progress | requires_action ──► cancelling ──► cancelled
queued | in_progress | requires_action ──► expired | failed
"""

from typing import Any

from inference.runs.errors import IllegalTransition

JSON = dict[str, Any]

TRANSITIONS: dict[str, frozenset[str]] = {
    "queued": frozenset({"in_progress", "cancelling", "failed", "expired"}),
    "in_progress": frozenset(
        {"requires_action", "cancelling", "completed", "incomplete", "failed", "expired"}
    ),
    "requires_action": frozenset({"queued", "cancelling", "failed", "expired"}),
    "cancelling": frozenset({"cancelled"}),
    "cancelled": frozenset(),
    "completed": frozenset(),
    "incomplete": frozenset(),
    "failed": frozenset(),
    "expired": frozenset(),
}

ENDED = frozenset(status for status, targets in TRANSITIONS.items() if not targets)
"""Statuses that a run never leaves."""

RESTING = ENDED | {"requires_action"}
"""Statuses in which no worker does anything for the run."""

STAMPS = {
    "in_progress": "started_at",
    "completed": "completed_at",
    "failed": "failed_at",
    "cancelled": "cancelled_at",
}
"""The time that a run notes when it comes to a status."""


def move(run: JSON, status: str, now: int, **changes: Any) -> JSON:
    """The run object as it is in its next status; IllegalTransition where the table has no way.

    Written by a Replace of the document that `run` was read from, it is a compare-and-set: of two
    that move a run from one status, one wins.
    """
    if status not in TRANSITIONS[run["status"]]:
        raise IllegalTransition(run["status"], status)
    moved = {**run, **changes, "status": status}
    stamp = STAMPS.get(status)
    if stamp is not None and moved.get(stamp) is None:
        moved[stamp] = now
    if status != "requires_action":
        moved["required_action"] = None
    if status in ENDED:
        moved["expires_at"] = None
    return moved
