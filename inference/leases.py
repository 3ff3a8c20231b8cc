"""Leases of the jobs that this process runs, renewed by a thread that no busy event loop can stop."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from persistence.errors import LeaseLost, StoreError
from persistence.store import Job, Store

RENEWAL = 0.3
"""The part of a lease after which it is renewed: three tries fit in, so one slow write loses nothing."""

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Lease:
    """A job that this process holds; `job` is always its newest renewal, so guard writes with it."""

    job: Job


@dataclass(slots=True, eq=False)
class HeldLease:
    """A lease that is renewed, and what the process does once another worker has or may have the job."""

    lease: Lease
    on_lost: Callable[[], object]
    on_expired: Callable[[], object]
    renewed: float = field(default_factory=time.monotonic)


class LeaseRenewer:
    """Renews leases of so many seconds, in a thread with an event loop of its own.

    `on_lost` and `on_expired` are called in the event loop of `start`.
    """

    def __init__(self, store: Store, seconds: float) -> None:
        self._store = store
        self._seconds = seconds
        self._held: set[HeldLease] = set()
        self._lock = threading.Lock()
        self._is_running = False

    def add(self, held: HeldLease) -> None:
        """Renew a lease from now on."""
        with self._lock:
            self._held.add(held)

    def remove(self, held: HeldLease) -> None:
        """Renew a lease no longer."""
        with self._lock:
            self._held.discard(held)
        # They refer to the job's task, and that to the error of its end: a run would stay in memory.
        held.on_lost = held.on_expired = _ignore

    def start(self) -> None:
        """Begin to renew."""
        self._home = asyncio.get_running_loop()
        self._loop = asyncio.new_event_loop()
        self._is_running = True
        self._task = self._loop.create_task(self._renew_forever())
        self._thread = threading.Thread(target=self._run, name="lease renewal", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End the thread."""
        if self._is_running:
            self._is_running = False
            self._loop.call_soon_threadsafe(self._task.cancel)
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _renew_forever(self) -> None:
        while self._is_running:  # a cancellation is lost if a renewal fails at the same moment
            await asyncio.sleep(RENEWAL * self._seconds / 6)
            with self._lock:
                due = [each for each in self._held if self._is_due(each)]
            await asyncio.gather(*(self._renew(each) for each in due))

    def _is_due(self, held: HeldLease) -> bool:
        """Whether to renew a lease now; a clock may have stopped while the machine was suspended."""
        since = max(time.monotonic() - held.renewed, time.time() + self._seconds - held.lease.job.due)
        return since >= RENEWAL * self._seconds

    async def _renew(self, held: HeldLease) -> None:
        started = time.monotonic()
        try:
            held.lease.job = await self._store.renew_job(held.lease.job, self._seconds)
        except LeaseLost:
            self._home.call_soon_threadsafe(held.on_lost)
        except Exception as exc:  # an error with one job must not end the renewals of all
            job, is_bug = held.lease.job, not isinstance(exc, StoreError)
            log.warning("job_not_renewed", kind=job.kind, id=job.id, error=str(exc), exc_info=is_bug)
            if started - held.renewed >= self._seconds:
                self._home.call_soon_threadsafe(held.on_expired)
        else:
            held.renewed = started


def _ignore() -> None:
    """Do nothing about the lease of a job that has ended."""
