"""What happens later: objects that expire, and the remains of deleted ones.

Both are jobs, so that a killed worker's are taken up by another. An "expire" job is enqueued in the
write that makes the object, a "purge" job in the write that deletes it.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from inference.jobs import LEASE_SECONDS, Jobs, Lease
from persistence.store import Cancel, Enqueue, Finish, Job, Store

EXPIRE = "expire"
PURGE = "purge"

Act = Callable[[Lease], Awaitable[None]]


class Deadlines:
    """Hands the expire and purge jobs of each collection to whoever keeps that collection.

    An act ends its job itself, by `finish` or by rescheduling it.
    """

    def __init__(self, store: Store, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs
        self._acts: dict[tuple[str, str], Act] = {}
        jobs.register(EXPIRE, self._run, concurrency=2)
        jobs.register(PURGE, self._run, concurrency=2)

    def register(self, collection: str, *, expire: Act | None = None, purge: Act | None = None) -> None:
        """Name what expires, and what purges, the objects of `collection`."""
        for kind, act in ((EXPIRE, expire), (PURGE, purge)):
            if act is not None:
                self._acts[kind, collection] = act

    @staticmethod
    def expire_at(project: str, collection: str, id: str, due: float) -> Enqueue:
        """Let an object expire at `due` (seconds since the epoch), and not at a time set before."""
        return Enqueue(
            Job(project, EXPIRE, f"{collection}:{id}", due, payload={"collection": collection, "id": id})
        )

    @staticmethod
    def never(project: str, collection: str, id: str) -> Cancel:
        """Forget that an object expires."""
        return Cancel(project, EXPIRE, f"{collection}:{id}")

    def purge(self, project: str, collection: str, id: str, **payload: Any) -> Enqueue:
        """Clear up behind an object from now on; this process holds the job: `run` it, or `adopt` it."""
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
        """Do a job that this process has just enqueued for itself, and wait for its end."""
        await self._run(Lease(enqueued.job))

    def adopt(self, enqueued: Enqueue) -> None:
        """Do a job that this process has just enqueued for itself, in the background."""
        self._jobs.adopt(enqueued.job)

    async def finish(self, lease: Lease) -> None:
        """The job is done."""
        await self._store.write(Finish(lease.job))

    async def _run(self, lease: Lease) -> None:
        await self._acts[lease.job.kind, lease.job.payload["collection"]](lease)
