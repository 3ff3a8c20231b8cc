"""A store through which a process can die: at a write, in the middle of it, or just after it."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from persistence.errors import LeaseLost, StoreUnavailable, VersionConflict
from persistence.store import (
    Document,
    Hold,
    Operation,
    Store,
)


class MortalStore:
    """The store as one process sees it; once dead, nothing it does has an effect.

    It dies at the `at`th write that is guarded by a lease (counted from 0): before it, after it, or
    torn: behind the first `torn` of the operations that come ahead of the lease, done one by one, as an
    engine does that has no transactions over partitions (`whole` says whether it passes for one that has).
    What comes with the lease lies in the run's partition and is one transaction in every engine.
    """

    def __init__(
        self,
        store: Store,
        *,
        at: int | None = None,
        how: str = "before",
        torn: int = 0,
        whole: bool | None = None,
    ) -> None:
        self._store = store
        self.atomic_writes = store.atomic_writes if whole is None else whole
        self._at = at
        self._how = how
        self._torn = torn
        self.dead = asyncio.Event()
        self.writes: list[tuple[Operation, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, *operations: Operation) -> list[Document]:
        await self._live()
        if not any(isinstance(each, Hold) for each in operations):
            return await self._store.write(*operations)
        self.writes.append(operations)
        if len(self.writes) - 1 != self._at:
            return await self._store.write(*operations)
        await self._write_last(operations)
        raise self._death()

    async def _write_last(self, operations: tuple[Operation, ...]) -> None:
        """Do what of the last write is done before the process dies."""
        if self._how == "torn":
            for each in operations[: self._torn]:
                await self._store.write(each)
        elif self._how == "after":
            await self._store.write(*operations)

    async def get(self, *args: Any) -> Any:
        await self._live()
        return await self._store.get(*args)

    async def take_jobs(self, *args: Any) -> Any:
        await self._live()
        return await self._store.take_jobs(*args)

    async def renew_job(self, *args: Any) -> Any:
        await self._live()
        return await self._store.renew_job(*args)

    async def live_through(self, work: Coroutine[Any, Any, None]) -> None:
        """Let the process do `work` until that is done or the process is dead; then it is dead in any case."""
        going, dying = asyncio.ensure_future(work), asyncio.ensure_future(self.dead.wait())
        await asyncio.wait([going, dying], return_when=asyncio.FIRST_COMPLETED)
        for each in (going, dying):
            each.cancel()
            with suppress(asyncio.CancelledError, StoreUnavailable):
                await each
        self.dead.set()

    async def _live(self) -> None:
        if self.dead.is_set():
            raise StoreUnavailable("this process is dead")

    def _death(self) -> StoreUnavailable:
        self.dead.set()
        return StoreUnavailable("this process is dead")


class PausedStore(MortalStore):
    """The store of a process that is stopped at the `at`th write that is guarded by a lease."""

    def __init__(self, store: Store, at: int) -> None:
        super().__init__(store)
        self._pause_at = at
        self.paused, self.resumed = asyncio.Event(), asyncio.Event()
        self.lost: list[bool] = []

    async def write(self, *operations: Operation) -> list[Document]:
        if not any(isinstance(each, Hold) for each in operations):
            return await self._store.write(*operations)
        self.writes.append(operations)
        if len(self.writes) - 1 < self._pause_at:
            return await self._store.write(*operations)
        self.paused.set()
        await self.resumed.wait()
        try:
            return await self._store.write(*operations)
        except (LeaseLost, VersionConflict):
            self.lost.append(True)
            raise
