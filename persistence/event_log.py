"""Event logs: numbered events of a stream."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

LOG_LIFETIME = 86_400.0
"""Seconds that a log is kept where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Append:
    """Add one segment, whose first event has the number `sequence`, to the log of `id`.

    A segment holds consecutive events. Writing the same sequence twice keeps the first. `lifetime`
    is for how many seconds the log is kept after it, at least.
    """

    project: str
    id: str
    sequence: int
    events: Sequence[bytes]
    lifetime: float = LOG_LIFETIME


class EventLog(Protocol):
    """Reads logs; `Store.write` appends to them."""

    async def read_log(
        self, project: str, id: str, after: int = -1, limit: int = 1000
    ) -> Sequence[tuple[int, bytes]]:
        """Return (number, event) with numbers over `after`, in order, about `limit` at most."""
