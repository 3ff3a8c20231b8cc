"""The worker side of the store's jobs: takes what is due, runs the handler while the lease is held."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

import structlog

from inference.fair_slots import FairSlots
from inference.leases import RENEWAL, HeldLease, Lease, LeaseRenewer
from inference.limits import MAX_TAKEOVERS
from persistence.errors import DocumentTooLarge, LeaseLost, StoreError
from persistence.store import Enqueue, Finish, Hold, Job, Reschedule, Store

LEASE_SECONDS = 10.0
"""Seconds for which a job is held without a renewal; a dead worker's job is free after that."""

ATTEMPTS = 3
"""Times that a job may fail by a bug before it is given up."""

RETRY_SECONDS = 1.0
"""Before a job that failed is tried again, times the number of its failures."""

PAUSE_SECONDS = 3600.0
"""Before the next attempt at a job that cannot be given up: what it is to delete must not stay for ever."""

TAKEN_AT_ONCE = 16
"""Jobs of a fair kind: so many are taken with the statements of one."""

TURN_SECONDS = 0.5
"""For which a fair kind's oldest jobs are taken before other projects have their turn."""

STOP_SECONDS = 1.0
"""In which polls may end before they are cancelled: a job that is taken then stays held by nobody."""

log = structlog.get_logger()


Handler = Callable[[Lease], Awaitable[None]]
"""Does the work of one job and ends it (Finish or Reschedule). Cancelled when the lease is lost."""

GiveUp = Callable[[Lease], Awaitable[None]]
"""Ends a job that failed too often, and marks what it was for as failed."""


@dataclass(slots=True)
class _Kind:
    handler: Handler
    concurrency: int
    give_up: GiveUp | None = None
    running: int = 0
    slots: FairSlots | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    polls_next: bool = False
    """Whether a poll waits for the lock; another one would find the same jobs."""

    def has_room(self, project: str) -> bool:
        return self.running < self.concurrency if self.slots is None else self.slots.has_room(project)


@dataclass(slots=True, eq=False)
class _Running:
    held: HeldLease
    task: asyncio.Task[None]


class Jobs:
    """Runs the due jobs of each registered kind in this process, and renews their leases.

    `register` before `start`. `adopt` runs a job that this process has just enqueued as held by
    itself (`Enqueue(Job(..., owner=jobs.owner, due=now + LEASE_SECONDS))`), without waiting for the poll.
    `stop` lets running jobs go on for the grace time, then gives their leases back.

    A job is given up once it was taken over more than `max_takeovers` times. A lost worker's other jobs
    are counted with the one that killed it, so the last attempt of such a job is made with no other
    one of them beside it in this process.
    """

    def __init__(
        self,
        store: Store,
        owner: str,
        *,
        poll: float = 1.0,
        lease: float = LEASE_SECONDS,
        max_takeovers: int = MAX_TAKEOVERS,
    ) -> None:
        self.owner = owner
        self.lease = lease
        self.max_takeovers = max_takeovers
        self._store = store
        self._poll = poll
        self._last_attempt: Lease | None = None
        self._interrupted: list[Lease] = []
        self._kinds: dict[str, _Kind] = {}
        self._running: dict[tuple[str, str, str], _Running] = {}
        self._renewer = LeaseRenewer(store, lease)
        self._polling: asyncio.Task[None] | None = None
        self._polls: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._seen = time.time()
        self._resumes = 0.0
        self._at_once = asyncio.Event()

    @property
    def running(self) -> int:
        """How many jobs run in this process."""
        return len(self._running)

    def register(
        self,
        kind: str,
        handler: Handler,
        *,
        concurrency: int,
        give_up: GiveUp | None = None,
        fair: bool = False,
    ) -> None:
        """Have jobs of `kind` run by `handler`, at most `concurrency` at once in this process.

        A job whose handler raises is tried again; after `ATTEMPTS` times, or when its workers were lost
        too often, it is given up by `give_up`. Without a `give_up` it is tried once more after each
        `PAUSE_SECONDS`. `fair` shares the concurrency between projects (`FairSlots`).
        """
        slots = FairSlots(concurrency) if fair else None
        self._kinds[kind] = _Kind(handler, concurrency, give_up, slots=slots)

    def has_room(self, kind: str, project: str) -> bool:
        """Whether another job of that kind and project may be adopted."""
        return not self._stopping and self._kinds[kind].has_room(project)

    def poll(self, kind: str) -> None:
        """Take due jobs of a kind soon, without waiting for the next poll."""
        if self._kinds[kind].polls_next:
            return
        self._kinds[kind].polls_next = True
        task = asyncio.create_task(self._take_after_end(kind))
        self._polls.add(task)
        task.add_done_callback(self._polls.discard)

    def adopt(self, job: Job) -> None:
        """Run `job`, which this process holds already, as a task of its own.

        A task of the same job that still runs here is cancelled: its token is no longer the job's.
        """
        key = (job.project, job.kind, job.id)
        former = self._running.get(key)
        if former is not None:
            former.task.cancel()
        kind = self._kinds[job.kind]
        lease = Lease(job)
        task = asyncio.get_running_loop().create_task(self._run(kind, lease), name=f"{job.kind} {job.id}")
        entry = _Running(HeldLease(lease, task.cancel, lambda: self._interrupt(entry)), task)
        self._running[key] = entry
        self._renewer.add(entry.held)
        kind.running += 1
        if kind.slots is not None:
            kind.slots.take(job.project)
        task.add_done_callback(lambda _: self._remove(key, entry, kind))

    async def start(self) -> None:
        """Begin to poll."""
        self._seen = time.time()  # made before the fork, perhaps long ago
        self._renewer.start()
        self._polling = asyncio.create_task(self._poll_forever(), name="jobs: poll")

    @property
    def is_stopping(self) -> bool:
        """Whether the process takes no more jobs."""
        return self._stopping

    async def stop(self, grace: float) -> None:
        """Take nothing more, wait `grace` seconds for what runs, and free the rest at once."""
        self._stopping = True
        if self._polling is not None:
            await _cancelled(self._polling)
        if self._polls:
            await asyncio.wait(self._polls, timeout=STOP_SECONDS)
        for task in list(self._polls):
            await _cancelled(task)
        if self._running and grace > 0:
            ends = asyncio.ensure_future(asyncio.wait([entry.task for entry in self._running.values()]))
            at_once = asyncio.ensure_future(self._at_once.wait())
            await asyncio.wait([ends, at_once], timeout=grace, return_when=asyncio.FIRST_COMPLETED)
            ends.cancel()
            at_once.cancel()
        await self._renewer.stop()
        rest = list(self._running.values())
        for entry in rest:
            await _cancelled(entry.task)
        leases = [entry.held.lease for entry in rest]
        await asyncio.gather(*(self._release(lease) for lease in leases), self._release_interrupted())

    def stop_at_once(self) -> None:
        """End the grace time of a `stop` that has begun."""
        self._at_once.set()

    # --- one job ---

    async def _run(self, kind: _Kind, lease: Lease) -> None:
        try:
            await self._attempt(kind, lease)
        except LeaseLost:
            log.info("job_lost", kind=lease.job.kind, id=lease.job.id)
        except StoreError as exc:
            # The job is free when its lease would have run out: that is the backoff for a store that is
            # away, and counts neither as a failure nor as a takeover.
            log.warning("job_interrupted", kind=lease.job.kind, id=lease.job.id, error=str(exc))
            self._interrupted.append(lease)

    async def _attempt(self, kind: _Kind, lease: Lease) -> None:
        try:
            if lease.job.takeovers < self.max_takeovers:
                await kind.handler(lease)
            else:
                await self._run_last_attempt(kind, lease)
        except DocumentTooLarge as exc:  # another attempt would fail in the same way
            log.warning("job_too_large", kind=lease.job.kind, id=lease.job.id, error=str(exc))
            await self._give_up(kind, lease, attempts=1)
        except StoreError:
            raise
        except Exception:  # a bug in a handler must end neither the worker nor its other jobs
            log.exception("job_failed", kind=lease.job.kind, id=lease.job.id)
            await self._retry_or_give_up(kind, lease)

    async def _run_last_attempt(self, kind: _Kind, lease: Lease) -> None:
        job = lease.job
        if job.takeovers > self.max_takeovers:
            await self._give_up(kind, lease, takeovers=job.takeovers)
        elif self._last_attempt is not None:
            await self._store.write(Reschedule(job, time.time() + RETRY_SECONDS))
        else:
            self._last_attempt = lease
            # A job that kills its worker mostly does so at once: the others need not wait for its end.
            timer = asyncio.get_running_loop().call_later(self.lease, self._end_last_attempt, lease)
            try:
                await kind.handler(lease)
            finally:
                timer.cancel()
                self._end_last_attempt(lease)

    def _end_last_attempt(self, lease: Lease) -> None:
        if self._last_attempt is lease:
            self._last_attempt = None

    async def _retry_or_give_up(self, kind: _Kind, lease: Lease) -> None:
        job = lease.job
        attempts = job.payload.get("attempts", 0) + 1
        if attempts < ATTEMPTS:
            payload = {**job.payload, "attempts": attempts}
            await self._store.write(Reschedule(job, time.time() + RETRY_SECONDS * attempts, payload))
        else:
            await self._give_up(kind, lease, attempts=attempts)

    async def _give_up(self, kind: _Kind, lease: Lease, **reason: int) -> None:
        job = lease.job
        if kind.give_up is None:
            log.error("job_put_off", kind=job.kind, id=job.id, seconds=PAUSE_SECONDS, **reason)
            takeovers = min(job.takeovers, self.max_takeovers)  # so that one attempt is left
            later = replace(job, due=time.time() + PAUSE_SECONDS, owner="", takeovers=takeovers)
            await self._store.write(Hold(job), Enqueue(later))
            return
        log.error("job_given_up", kind=job.kind, id=job.id, **reason)
        try:
            await kind.give_up(lease)
        except StoreError:
            raise
        except Exception:  # the same bug, most likely: without its job it is tried no more
            log.exception("job_not_given_up", kind=job.kind, id=job.id)
            await self._store.write(Finish(lease.job))

    def _interrupt(self, entry: _Running) -> None:
        """Cancel a job whose lease ran out while the store did not answer."""
        entry.task.cancel()
        self._interrupted.append(entry.held.lease)

    def _remove(self, key: tuple[str, str, str], entry: _Running, kind: _Kind) -> None:
        self._renewer.remove(entry.held)
        kind.running -= 1
        if kind.slots is not None:
            kind.slots.release(entry.held.lease.job.project)
        if self._running.get(key) is entry:
            del self._running[key]

    async def _release(self, lease: Lease) -> None:
        with contextlib.suppress(StoreError):
            await self._store.write(Reschedule(lease.job, due=time.time()))

    async def _release_interrupted(self) -> None:
        """Let go of jobs whose handler met a failure of the store, once the store answers again."""
        while self._interrupted:
            job = self._interrupted[0].job  # others are appended meanwhile
            try:
                await self._store.write(Reschedule(job, max(job.due, time.time())))
            except LeaseLost:  # it is another worker's by now, or has ended
                pass
            except StoreError:
                return
            del self._interrupted[0]

    # --- taking ---

    # A cancellation that meets an error on its way is lost (asyncio.gather raises the error), so the
    # loop looks for itself whether it is still wanted.

    async def _poll_forever(self) -> None:
        while not self._stopping:
            await self._release_interrupted()
            for name in self._kinds:
                self.poll(name)  # as tasks: one kind may have jobs to take for a long time
            await asyncio.sleep(self._poll)

    async def _take_after_end(self, name: str) -> None:
        """Take due jobs of a kind once the job that has just ended has freed its slot."""
        await asyncio.sleep(0)
        await self._take(name, self._kinds[name])

    async def _take(self, name: str, kind: _Kind) -> None:
        """Take due jobs."""
        async with kind.lock:
            kind.polls_next = False
            if kind.slots is not None:
                await self._take_fairly(name, kind, kind.slots)
            elif kind.running < kind.concurrency and not self._stopping:
                await self._let_others_renew()
                for job in await self._due(name, kind.concurrency - kind.running):
                    self.adopt(job)

    async def _take_fairly(self, name: str, kind: _Kind, slots: FairSlots) -> None:
        """Take due jobs, few at once, since each changes which projects have room.

        Jobs that end at once never exhaust a project's slots, and it may have thousands that are due earlier
        than another's. So the projects whose jobs were taken are passed over at the end of each turn, until
        nobody else has any.
        """
        served: set[str] = set()
        passed_over: set[str] = set()
        turn_ends = time.monotonic() + TURN_SECONDS
        while kind.running < kind.concurrency and not self._stopping:
            await self._let_others_renew()
            limit = min(TAKEN_AT_ONCE, max(1, slots.room()))
            jobs = await self._due(name, limit, passed_over.union(slots.exhausted()))
            for job in jobs:
                self.adopt(job)
                served.add(job.project)
            if not jobs and not passed_over:
                return
            if not jobs:
                served.clear()
            if not jobs or time.monotonic() >= turn_ends:
                passed_over = set(served)
                turn_ends = time.monotonic() + TURN_SECONDS

    async def _let_others_renew(self) -> None:
        """After a time in which this process did not run, wait before jobs are taken.

        The whole machine may have been suspended: its workers renew their leases as soon as it wakes,
        and continue with their jobs.
        """
        slept = time.time() - self._seen
        if slept > self.lease / 2:
            log.warning("process_suspended", seconds=round(slept, 1))
            self._resumes = time.monotonic() + RENEWAL * self.lease
            self._seen = time.time()  # the polls of the other kinds wait for the same
        await asyncio.sleep(max(0.0, self._resumes - time.monotonic()))
        self._seen = time.time()

    async def _due(self, name: str, limit: int, skipped: Collection[str] = ()) -> Sequence[Job]:
        try:
            return await self._store.take_jobs(name, self.owner, self.lease, limit, skipped)
        except Exception as exc:  # the polls continue after any error: without them no job is ever taken
            is_bug = not isinstance(exc, StoreError)
            log.warning("jobs_not_taken", kind=name, error=str(exc), exc_info=is_bug)
            return ()


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    await asyncio.wait([task])
