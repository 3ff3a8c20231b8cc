"""The worker side of the store's jobs: takes what is due, holds the lease, runs the handler."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from astrolabe_server.persistence.store import Job, Store

LEASE = 10.0
"""Seconds for which a job is held without a renewal; a dead worker's job is free after that."""


@dataclass(slots=True)
class Held:
    """A job that this process holds; `job` is always its newest renewal, so guard writes with it."""

    job: Job


Handler = Callable[[Held], Awaitable[None]]
"""Does the work of one job and ends it (Finish or Reschedule). Cancelled when the lease is lost."""


class Jobs:
    """Runs the due jobs of each registered kind in this process, and renews their leases.

    `register` before `start`. `adopt` runs a job that this process has just enqueued as held by
    itself (`Enqueue(Job(..., owner=jobs.owner, due=now + LEASE))`), without waiting for the poll.
    `stop` lets running jobs go on for the grace time, then gives their leases back.
    """

    def __init__(self, store: Store, owner: str, *, poll: float = 1.0) -> None:
        raise NotImplementedError

    owner: str

    def register(self, kind: str, handler: Handler, *, concurrency: int) -> None:
        """Have jobs of `kind` run by `handler`, at most `concurrency` at once in this process."""
        raise NotImplementedError

    def adopt(self, job: Job) -> None:
        """Run `job`, which this process holds already, as a task of its own."""
        raise NotImplementedError

    async def start(self) -> None:
        """Begin to poll."""
        raise NotImplementedError

    async def stop(self, grace: float) -> None:
        """Take nothing more, wait `grace` seconds for what runs, and free the rest at once."""
        raise NotImplementedError
