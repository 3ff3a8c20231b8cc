"""Jobs: work that is due at a time and held by one worker at a time."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from persistence.types import JSON


def fresh_token() -> int:
    """Return a token that no earlier holder of a job has: the time in microseconds."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Job:
    """Work that is due at a time, and the lease of its holder.

    A job is free once `due` (seconds since the epoch) has passed. Taking it moves `due` on by the
    lease's length and makes a new `token`, greater than every one before; renewing moves `due` on
    again. A writer proves that it still holds the lease by naming its token and owner (`Hold`), so
    a worker that was paused for longer than its lease can write nothing. A lease that ran out and
    that nobody took since still holds. A job without an owner is held by nobody.

    `takeovers` counts how often the job was taken from another owner whose lease had run out, so that a
    job that kills its workers can be given up. A job that its holder let go of (Reschedule) does not
    count when it is taken again.
    """

    project: str
    kind: str
    id: str
    due: float
    token: int = field(default_factory=fresh_token)
    owner: str = ""
    payload: JSON = field(default_factory=dict)
    takeovers: int = 0

    def taken(self, owner: str, now: float, lease: float) -> "Job":
        """Return the free job as `owner` holds it for `lease` seconds from `now`."""
        return replace(
            self,
            due=now + lease,
            token=max(int(now * 1_000_000), self.token + 1),
            owner=owner,
            takeovers=self.takeovers + (self.owner not in ("", owner)),
        )


@dataclass(frozen=True, slots=True)
class Enqueue:
    """Add a job, or replace the one of the same project, kind and id, whose holder loses it.

    With an `owner` the job is held at once, by the job's own token, until `due`.
    """

    job: Job


@dataclass(frozen=True, slots=True)
class Hold:
    """Write only if `job` is still held by its token; LeaseLost otherwise."""

    job: Job


@dataclass(frozen=True, slots=True)
class Finish:
    """Delete `job`; LeaseLost if another token holds it."""

    job: Job


@dataclass(frozen=True, slots=True)
class Reschedule:
    """Release `job` and make it free at `due`; LeaseLost if another token holds it."""

    job: Job
    due: float
    payload: JSON | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Delete a job, also one that is held: its holder loses the lease. A missing job is no error."""

    project: str
    kind: str
    id: str


class JobQueue(Protocol):
    """Gives due jobs to workers; `Store.write` adds and ends them."""

    async def take_jobs(
        self, kind: str, owner: str, lease: float, limit: int, skipped: Collection[str] = ()
    ) -> Sequence[Job]:
        """Take at most `limit` free jobs of a kind, each held for `lease` seconds.

        Jobs of the projects in `skipped` are left as they are.

        Costs a bounded read when nothing is due, whatever the number of finished jobs.
        """

    async def renew_job(self, job: Job, lease: float) -> Job:
        """Hold `job` for `lease` seconds from now; LeaseLost if another token has it.

        Safe to call in the event loop of any thread.
        """
