"""The statuses of a run, and the transitions between them.

queued ──────────► in_progress ──► completed | incomplete | failed
  ▲                  │     ▲
  │                  ▼     │ (after a worker was lost, the next one continues in in_progress)
  └── requires_action
queued | in_progress | requires_action ──► cancelling ──► cancelled
queued | in_progress | requires_action ──► expired | failed
"""

from inference.engine.errors import IllegalTransition

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

SETTLED = ENDED | {"requires_action"}
"""Statuses in which no worker works on the run."""


def check_transition(status: str, target: str) -> None:
    """Raise IllegalTransition if a run cannot move from `status` to `target`."""
    if target not in TRANSITIONS[status]:
        raise IllegalTransition(status, target)
