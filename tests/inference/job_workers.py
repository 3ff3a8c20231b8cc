"""Workers whose jobs are done as a test says."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from inference.jobs import Handler, Jobs
from inference.leases import Lease
from persistence.store import Finish, Job, Store

LEASE = 0.3


@asynccontextmanager
async def working(
    store: Store, owner: str, handler: Handler, *, concurrency: int = 10
) -> AsyncIterator[Jobs]:
    jobs = Jobs(store, owner, poll=0.02, lease=LEASE)
    jobs.register("k", handler, concurrency=concurrency)
    await jobs.start()
    try:
        yield jobs
    finally:
        await jobs.stop(0)


def job(id: str = "1", *, due: float = 0.0, owner: str = "") -> Job:
    return Job("p", "k", id, due=due or time.time(), owner=owner)


async def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


class Work:
    """A handler that records its jobs, and finishes each once `go` is set."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.most = 0
        self.running = 0
        self.go = asyncio.Event()

    async def __call__(self, lease: Lease) -> None:
        self.begun.append(lease.job.id)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go.wait()
            await self.store.write(Finish(lease.job))
        except asyncio.CancelledError:
            self.cancelled.append(lease.job.id)
            raise
        finally:
            self.running -= 1
