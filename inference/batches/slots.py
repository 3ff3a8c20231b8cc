"""How many lines of all batches a worker sends at the same time."""

import asyncio
from collections import Counter

IN_FLIGHT_BYTES = 16 * 1024 * 1024
"""Bytes of the lines that one worker sends at the same time; a larger line is sent alone."""


class LineSlots:
    """Bounds the lines in flight: `per_project`, `per_model`, and all of them by their bytes.

    The line that has waited for longest comes first, unless its project or model keeps it waiting.
    """

    def __init__(self, per_project: int, per_model: int, most_bytes: int = IN_FLIGHT_BYTES) -> None:
        self._per_project = per_project
        self._per_model = per_model
        self._most_bytes = most_bytes
        self._projects: Counter[str | None] = Counter()
        self._models: Counter[str | None] = Counter()
        self._bytes = 0
        self._waiting: list[tuple[str, str | None, int, asyncio.Future[None]]] = []

    async def acquire(self, project: str, model: str | None, size: int) -> None:
        """Wait for a slot for a line of so many bytes."""
        if not self._waiting and self._has_room(project, model, size):
            self._take(project, model, size)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (project, model, size, future)
        self._waiting.append(entry)
        self._admit()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release(project, model, size)
            else:
                self._waiting.remove(entry)
                self._admit()
            raise

    def release(self, project: str, model: str | None, size: int) -> None:
        """Give a slot back."""
        for counter, key in ((self._projects, project), (self._models, model)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]
        self._bytes -= size
        self._admit()

    def _admit(self) -> None:
        for entry in list(self._waiting):
            project, model, size, future = entry
            if self._has_room(project, model, size):
                self._take(project, model, size)
                self._waiting.remove(entry)
                future.set_result(None)
            elif self._has_slot(project, model):
                return  # a large line, which smaller ones behind it would keep waiting for ever

    def _take(self, project: str, model: str | None, size: int) -> None:
        self._projects[project] += 1
        self._models[model] += 1
        self._bytes += size

    def _has_room(self, project: str, model: str | None, size: int) -> bool:
        fits = not self._bytes or self._bytes + size <= self._most_bytes
        return fits and self._has_slot(project, model)

    def _has_slot(self, project: str, model: str | None) -> bool:
        return self._projects[project] < self._per_project and self._models[model] < self._per_model
