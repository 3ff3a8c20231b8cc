"""Slots that projects share, so that the work of one does not keep another's waiting."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairSlots:
    """A project that holds n slots may take another only while more than n are free.

    So a project alone gets half of the slots, the next one half of the rest, and so on. Of those that wait
    for a slot, the project whose work has cost least comes first; costs are forgotten when nobody is left.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._held: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._costs: Counter[str] = Counter()
        self._changed = asyncio.Condition()

    @property
    def free(self) -> int:
        """Return how many slots nobody holds."""
        return self._total - self._held.total()

    def has_room(self, project: str) -> bool:
        """Return whether the project may take a slot."""
        return self.free > self._held[project]

    def exhausted(self) -> list[str]:
        """Return the projects that may take no more for now."""
        return [project for project in self._held if not self.has_room(project)]

    def room(self) -> int:
        """Return how many slots may be taken at once, by whichever projects have room."""
        held = max((held for held in self._held.values() if self.free > held), default=0)
        return max(0, (self.free - held + 1) // 2)

    def take(self, project: str) -> None:
        """Count a slot as the project's, even if it has no room."""
        self._held[project] += 1

    def release(self, project: str) -> None:
        """Free a slot of the project."""
        self._held[project] -= 1
        if not self._held[project]:
            del self._held[project]

    def charge(self, project: str, cost: int) -> None:
        """Add to what the project's work has cost, such as milliseconds of CPU time."""
        self._costs[project] += cost

    @asynccontextmanager
    async def hold(self, project: str) -> AsyncIterator[None]:
        """Hold a slot, once the project may take one."""
        async with self._changed:
            self._waiting[project] += 1
            try:
                await self._changed.wait_for(lambda: self._is_next(project))
                self.take(project)
            finally:
                self._waiting -= Counter({project: 1})
                self._changed.notify_all()  # another project may be the next now
        try:
            yield
        finally:
            self.release(project)
            if not self._held and not self._waiting:
                self._costs.clear()
            async with self._changed:
                self._changed.notify_all()

    def _is_next(self, project: str) -> bool:
        others = (other for other in self._waiting if self.has_room(other))
        return self.has_room(project) and all(self._costs[project] <= self._costs[other] for other in others)
