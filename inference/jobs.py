"""The worker side of the store's jobs: takes what is due, holds the lease, runs the handler."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from persistence.errors import LeaseLost, StoreError
from persistence.store import Job, Reschedule, Store

LEASE = 10.0
"""Seconds for which a job is held without a renewal; a dead worker's job is free after that."""

RENEWAL = 0.3
"""The part of a lease after which it is renewed: three tries fit in, so one slow write loses nothing."""

log = structlog.get_logger()


@dataclass(slots=True)
class Held:
    """A job that this process holds; `job` is always its newest renewal, so guard writes with it."""

    job: Job


Handler = Callable[[Held], Awaitable[None]]
"""Does the work of one job and ends it (Finish or Reschedule). Cancelled when the lease is lost."""


@dataclass(slots=True)
class _Kind:
    handler: Handler
    concurrency: int
    running: int = 0


@dataclass(slots=True, eq=False)
class _Running:
    held: Held
    task: asyncio.Task[None]
    renewed: float = field(default_factory=time.monotonic)


class Jobs:
    """Runs the due jobs of each registered kind in this process, and renews their leases.

    `register` before `start`. `adopt` runs a job that this process has just enqueued as held by
    itself (`Enqueue(Job(..., owner=jobs.owner, due=now + LEASE))`), without waiting for the poll.
    `stop` lets running jobs go on for the grace time, then gives their leases back.
    """

    def __init__(self, store: Store, owner: str, *, poll: float = 1.0, lease: float = LEASE) -> None:
        self.owner = owner
        self.lease = lease
        self._store = store
        self._poll = poll
        self._kinds: dict[str, _Kind] = {}
        self._running: dict[tuple[str, str, str], _Running] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = self._renewing = False

    def register(self, kind: str, handler: Handler, *, concurrency: int) -> None:
        """Have jobs of `kind` run by `handler`, at most `concurrency` at once in this process."""
        self._kinds[kind] = _Kind(handler, concurrency)

    def has_room(self, kind: str) -> bool:
        """Whether another job of that kind may be adopted."""
        kept = self._kinds[kind]
        return not self._stopping and kept.running < kept.concurrency

    def adopt(self, job: Job) -> None:
        """Run `job`, which this process holds already, as a task of its own.

        A task of the same job that still runs here is cancelled: its token is no longer the job's.
        """
        key = (job.project, job.kind, job.id)
        former = self._running.get(key)
        if former is not None:
            former.task.cancel()
        kind = self._kinds[job.kind]
        held = Held(job)
        task = asyncio.get_running_loop().create_task(self._run(kind, held), name=f"{job.kind} {job.id}")
        entry = _Running(held, task)
        self._running[key] = entry
        kind.running += 1
        task.add_done_callback(lambda _: self._forget(key, entry, kind))

    async def start(self) -> None:
        """Begin to poll."""
        self._renewing = True
        self._loops = [
            asyncio.create_task(self._poll_forever(), name="jobs: poll"),
            asyncio.create_task(self._renew_forever(), name="jobs: renew"),
        ]

    async def stop(self, grace: float) -> None:
        """Take nothing more, wait `grace` seconds for what runs, and free the rest at once."""
        self._stopping = True
        poll, renewals = self._loops[:1], self._loops[1:]
        for loop in poll:
            await _cancelled(loop)
        tasks = [entry.task for entry in self._running.values()]
        if tasks and grace > 0:
            await asyncio.wait(tasks, timeout=grace)
        self._renewing = False
        for loop in renewals:
            await _cancelled(loop)
        rest = list(self._running.values())
        for entry in rest:
            await _cancelled(entry.task)
        await asyncio.gather(*(self._release(entry.held) for entry in rest))
        self._loops = []

    # --- one job ---

    async def _run(self, kind: _Kind, held: Held) -> None:
        try:
            await kind.handler(held)
        except LeaseLost:
            log.info("job_lost", kind=held.job.kind, id=held.job.id)
        except StoreError as exc:
            # The job keeps its lease until it runs out, then whoever is first tries again: that is
            # the backoff for a store that is away, and below no job is dropped for a bug.
            log.warning("job_interrupted", kind=held.job.kind, id=held.job.id, error=str(exc))
        except Exception:
            log.exception("job_failed", kind=held.job.kind, id=held.job.id)

    def _forget(self, key: tuple[str, str, str], entry: _Running, kind: _Kind) -> None:
        kind.running -= 1
        if self._running.get(key) is entry:
            del self._running[key]

    async def _release(self, held: Held) -> None:
        with contextlib.suppress(StoreError):
            await self._store.write(Reschedule(held.job, due=time.time()))

    # --- taking ---

    # A cancellation that meets an error on its way is lost (asyncio.gather raises the error), so the
    # loops look for themselves whether they are still wanted.

    async def _poll_forever(self) -> None:
        while not self._stopping:
            for name, kind in self._kinds.items():
                await self._take(name, kind)
            await asyncio.sleep(self._poll)

    async def _take(self, name: str, kind: _Kind) -> None:
        room = kind.concurrency - kind.running
        if room <= 0:
            return
        try:
            jobs = await self._store.take_jobs(name, self.owner, self.lease, room)
        except StoreError as exc:
            log.warning("jobs_not_taken", kind=name, error=str(exc))
            return
        except Exception:  # whatever it is, the polls go on: without them no job is ever taken up
            log.exception("jobs_not_taken", kind=name)
            return
        for job in jobs:
            self.adopt(job)

    # --- renewing ---

    async def _renew_forever(self) -> None:
        while self._renewing:
            await asyncio.sleep(RENEWAL * self.lease / 6)
            now = time.monotonic()
            due = [each for each in self._running.values() if now - each.renewed >= RENEWAL * self.lease]
            await asyncio.gather(*(self._renew(entry) for entry in due))

    async def _renew(self, entry: _Running) -> None:
        started = time.monotonic()
        try:
            entry.held.job = await self._store.renew_job(entry.held.job, self.lease)
        except LeaseLost:
            # A handler that has just ended its job is done in a moment, and cancelling does nothing.
            entry.task.cancel()
        except StoreError as exc:
            log.warning("job_not_renewed", kind=entry.held.job.kind, id=entry.held.job.id, error=str(exc))
            self._give_up_if_over(entry, started)
        except Exception:
            log.exception("job_not_renewed", kind=entry.held.job.kind, id=entry.held.job.id)
            self._give_up_if_over(entry, started)
        else:
            entry.renewed = started

    def _give_up_if_over(self, entry: _Running, now: float) -> None:
        if now - entry.renewed >= self.lease:
            entry.task.cancel()


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    await asyncio.wait([task])
