"""Jobs for objects that expire ("expire") and for what deleted objects leave behind ("purge").

An expire job is enqueued in the write that creates its object, a purge job in the write that deletes it,
so a killed worker's jobs are run by another.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from inference.jobs import LEASE_SECONDS, Jobs
from inference.leases import Lease
from persistence.store import Cancel, Enqueue, Finish, Job, Store

EXPIRE = "expire"
PURGE = "purge"

JobHandler = Callable[[Lease], Awaitable[None]]


class Deadlines:
    """Runs the expire and purge jobs of each collection with the handler that is registered for it.

    A handler ends its job itself, by `finish` or by rescheduling it.
    """

    def __init__(self, store: Store, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs
        self._handlers: dict[tuple[str, str], JobHandler] = {}
        jobs.register(EXPIRE, self._run, concurrency=2)
        jobs.register(PURGE, self._run, concurrency=2)

    def register(
        self, collection: str, *, expire: JobHandler | None = None, purge: JobHandler | None = None
    ) -> None:
        """Register the handlers of the jobs of `collection`."""
        for kind, handler in ((EXPIRE, expire), (PURGE, purge)):
            if handler is not None:
                self._handlers[kind, collection] = handler

    @staticmethod
    def expire_at(project: str, collection: str, id: str, due: float) -> Enqueue:
        """Return the operation that lets an object expire at `due`, in seconds since the epoch."""
        return Enqueue(
            Job(project, EXPIRE, f"{collection}:{id}", due, payload={"collection": collection, "id": id})
        )

    @staticmethod
    def cancel_expiry(project: str, collection: str, id: str) -> Cancel:
        """Return the operation that cancels an object's expire job."""
        return Cancel(project, EXPIRE, f"{collection}:{id}")

    def purge(self, project: str, collection: str, id: str, **payload: Any) -> Enqueue:
        """Return the operation that enqueues a purge job held by this process.

        After the write, call `run` or `run_in_background`.
        """
        return Enqueue(
            Job(
                project,
                PURGE,
                f"{collection}:{id}",
                time.time() + LEASE_SECONDS,
                owner=self._jobs.owner,
                payload={"collection": collection, "id": id, **payload},
            )
        )

    async def run(self, enqueued: Enqueue) -> None:
        """Run a purge job that this process holds, and wait for its end."""
        await self._run(Lease(enqueued.job))

    def run_in_background(self, enqueued: Enqueue) -> None:
        """Run a purge job that this process holds, in the background."""
        self._jobs.adopt(enqueued.job)

    async def finish(self, lease: Lease) -> None:
        """Remove a job that is done."""
        await self._store.write(Finish(lease.job))

    async def _run(self, lease: Lease) -> None:
        await self._handlers[lease.job.kind, lease.job.payload["collection"]](lease)
