"""Jobs: taken when they are due, held by renewals, cancelled when the lease is lost."""

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog

from inference.jobs import Jobs
from inference.leases import RENEWAL, Lease
from persistence.engines import open_store
from persistence.errors import LeaseLost, StoreUnavailable
from persistence.store import Enqueue, Finish, Hold, Job, Reschedule, Store
from tests.fixtures.stores import store
from tests.inference import slow_worker
from tests.inference.job_workers import LEASE, Work, eventually, job, working

__all__ = ["store"]


async def test_a_job_is_taken_when_it_is_due_and_not_before(store: Store) -> None:
    work = Work(store)
    work.go.set()
    due = time.time() + 0.3
    await store.write(Enqueue(job(due=due)))

    async with working(store, "a", work):
        await eventually(lambda: bool(work.begun))

    assert time.time() >= due
    assert work.begun == ["1"]


async def test_a_job_that_takes_longer_than_its_lease_is_renewed_and_stays(store: Store) -> None:
    work, other = Work(store), Work(store)
    await store.write(Enqueue(job()))

    async with working(store, "a", work):
        await eventually(lambda: bool(work.begun))
        async with working(store, "b", other):
            await asyncio.sleep(3 * LEASE)
            work.go.set()
            await eventually(lambda: not work.running)

    assert other.begun == []
    assert work.cancelled == []


async def test_a_blocked_event_loop_loses_no_lease(store: Store, tmp_path: Path) -> None:
    taken: list[Job] = []
    ended = threading.Event()

    async def take() -> None:
        """Take what is free, as a worker of another process."""
        other = open_store(f"sqlite:///{tmp_path}/astrolabe.db")
        await other.open()
        while not ended.is_set():
            taken.extend(await other.take_jobs("k", "b", LEASE, 10))
            await asyncio.sleep(LEASE / 10)
        await other.close()

    async def block(lease: Lease) -> None:
        rival = threading.Thread(target=asyncio.run, args=(take(),))
        rival.start()
        time.sleep(10 * LEASE)
        ended.set()
        rival.join()
        await store.write(Finish(lease.job))
        done.set()

    done = asyncio.Event()
    await store.write(Enqueue(job()))
    async with working(store, "a", block):
        await asyncio.wait_for(done.wait(), 30)
    assert taken == []


async def test_a_job_continues_after_the_machine_was_suspended(store: Store, tmp_path: Path) -> None:
    """The worker that holds it and an idle one stop for longer than a lease; the idle one wakes first."""
    await store.write(Enqueue(job()))
    command = (
        sys.executable,
        "-m",
        slow_worker.__name__,
        f"sqlite:///{tmp_path}/astrolabe.db",
        str(tmp_path),
    )
    holder = await asyncio.create_subprocess_exec(*command, "holder")
    await eventually((tmp_path / "holder began").exists, 60)
    idle = await asyncio.create_subprocess_exec(*command, "idle")
    await eventually((tmp_path / "idle is ready").exists, 60)
    try:
        for worker in (holder, idle):
            worker.send_signal(signal.SIGSTOP)
        await asyncio.sleep(1.5 * slow_worker.LEASE)
        idle.send_signal(signal.SIGCONT)
        await asyncio.sleep(RENEWAL / 3 * slow_worker.LEASE)
        holder.send_signal(signal.SIGCONT)
        await asyncio.sleep(slow_worker.LEASE)
        (tmp_path / "end").touch()
        assert await asyncio.wait_for(holder.wait(), 60) == 0
    finally:
        for worker in (holder, idle):
            if worker.returncode is None:
                worker.kill()
            await worker.wait()
    assert not (tmp_path / "idle began").exists()


async def test_a_worker_made_long_before_it_starts_takes_jobs_at_once(store: Store) -> None:
    work = Work(store)
    work.go.set()
    await store.write(Enqueue(job()))
    jobs = Jobs(store, "a", poll=0.02, lease=LEASE)
    jobs.register("k", work, concurrency=1)
    await asyncio.sleep(LEASE)  # gunicorn makes it before the fork, and a worker that follows another

    with structlog.testing.capture_logs() as logs:
        await jobs.start()
        try:
            await eventually(lambda: bool(work.begun))
        finally:
            await jobs.stop(0)
    assert "process_suspended" not in {line["event"] for line in logs}


async def test_a_job_whose_lease_was_taken_is_cancelled(store: Store) -> None:
    work = Work(store)
    await store.write(Enqueue(job()))

    async with working(store, "a", work):
        await eventually(lambda: bool(work.begun))
        stolen = job(owner="b", due=time.time() + 60)
        await store.write(Enqueue(stolen))
        await eventually(lambda: work.cancelled == ["1"])

    await store.write(Hold(stolen))


async def test_no_more_run_at_once_than_the_kind_allows(store: Store) -> None:
    work = Work(store)
    await store.write(*(Enqueue(job(str(number))) for number in range(7)))

    async with working(store, "a", work, concurrency=3):
        await eventually(lambda: len(work.begun) == 3)
        await asyncio.sleep(0.1)
        assert len(work.begun) == 3
        work.go.set()
        await eventually(lambda: len(work.begun) == 7)

    assert work.most == 3


async def test_adopting_a_job_runs_it_at_once_and_instead_of_its_former_task(store: Store) -> None:
    work = Work(store)
    jobs = Jobs(store, "a", lease=LEASE)
    jobs.register("k", work, concurrency=2)
    first, second = (job(owner="a", due=time.time() + 60) for _ in range(2))
    await store.write(Enqueue(first))
    jobs.adopt(first)
    await eventually(lambda: work.begun == ["1"])

    await store.write(Enqueue(second))
    jobs.adopt(second)
    await eventually(lambda: work.begun == ["1", "1"])

    assert work.cancelled == ["1"]
    with pytest.raises(LeaseLost):
        await store.write(Hold(first))
    work.go.set()
    await eventually(lambda: not work.running)


async def test_stopping_waits_for_the_grace_time_and_frees_the_rest_at_once(store: Store) -> None:
    work = Work(store)
    await store.write(Enqueue(job("1")), Enqueue(job("2")))
    jobs = Jobs(store, "a", poll=0.02, lease=60)
    jobs.register("k", work, concurrency=10)
    await jobs.start()
    await eventually(lambda: len(work.begun) == 2)
    started = time.monotonic()

    await jobs.stop(grace=0.2)

    assert 0.2 <= time.monotonic() - started < 5
    assert sorted(work.cancelled) == ["1", "2"]
    assert len(await store.take_jobs("k", "b", 60, 10)) == 2


async def test_a_job_can_be_put_off(store: Store) -> None:
    times: list[float] = []

    async def twice(lease: Lease) -> None:
        times.append(time.time())
        if len(times) == 1:
            await store.write(Reschedule(lease.job, due=time.time() + 0.3))
        else:
            await store.write(Finish(lease.job))

    await store.write(Enqueue(job()))
    async with working(store, "a", twice):
        await eventually(lambda: len(times) == 2)

    assert times[1] - times[0] >= 0.3


async def test_it_stops_though_a_poll_fails_at_that_moment(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancellation that meets an error in asyncio.gather is lost."""
    polled = asyncio.Event()

    async def fail_when_cancelled(*_: object) -> list[Job]:
        polled.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise StoreUnavailable("away") from None
        return []

    monkeypatch.setattr(store, "take_jobs", fail_when_cancelled)
    jobs = Jobs(store, "w", poll=0.01)
    jobs.register("k", Work(store), concurrency=1)
    await jobs.start()
    await polled.wait()
    async with asyncio.timeout(5):
        await jobs.stop(0)


async def test_due_jobs_of_a_fair_kind_are_taken_many_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, counts, take_jobs = Work(store), list[int](), store.take_jobs

    async def counted(*args: Any) -> Sequence[Job]:
        jobs = await take_jobs(*args)
        counts.append(len(jobs))
        return jobs

    monkeypatch.setattr(store, "take_jobs", counted)
    jobs = Jobs(store, "a", poll=0.02)
    jobs.register("k", work, concurrency=80, fair=True)
    await store.write(*(Enqueue(Job(f"p{n % 2}", "k", f"{n}", due=time.time() - 60)) for n in range(40)))
    await jobs.start()
    try:
        await eventually(lambda: sum(counts) == 40)
    finally:
        await jobs.stop(0)
    assert [count for count in counts if count] == [16, 16, 8]


async def test_a_project_with_thousands_of_quick_jobs_delays_neither_other_projects_nor_other_kinds(
    store: Store,
) -> None:
    """The jobs of `busy` end at once and are due again: they never exhaust its slots and never run out."""
    done: dict[str, float] = {}

    async def handle(lease: Lease) -> None:
        if lease.job.project == "busy":
            await store.write(Reschedule(lease.job, time.time() - 60))
        else:
            done[lease.job.id] = time.monotonic()
            await store.write(Finish(lease.job))

    jobs = Jobs(store, "a", poll=0.02)
    jobs.register("fair", handle, concurrency=8, fair=True)
    jobs.register("k", handle, concurrency=8)
    await store.write(*(Enqueue(Job("busy", "fair", f"{n}", due=time.time() - 60)) for n in range(100)))
    await jobs.start()
    await asyncio.sleep(0.2)
    late = time.time()
    await store.write(*(Enqueue(Job("other", kind, f"{kind} 1", due=late)) for kind in ("fair", "k")))
    await store.write(*(Enqueue(Job("third", "fair", f"fair {n}", due=late)) for n in range(2, 5)))
    try:
        await eventually(lambda: done.keys() == {"k 1", *(f"fair {n}" for n in range(1, 5))})
    finally:
        await jobs.stop(0)
