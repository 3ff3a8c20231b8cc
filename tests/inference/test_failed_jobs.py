"""Jobs that fail, or whose workers or store fail: tried again, given up, or put off."""

import asyncio
import signal
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

import inference.jobs
from inference.jobs import ATTEMPTS, Jobs
from inference.leases import Lease
from inference.limits import MAX_TAKEOVERS
from persistence.errors import DocumentTooLarge, StoreUnavailable
from persistence.store import Document, Enqueue, Finish, Job, Operation, Reschedule, Store
from tests.fixtures.stores import store
from tests.inference import killed_worker
from tests.inference.job_workers import LEASE, Work, eventually, job, working

__all__ = ["store"]


async def test_a_handler_that_fails_leaves_its_job_to_be_taken_again(store: Store) -> None:
    tries: list[int] = []

    async def failing(lease: Lease) -> None:
        tries.append(lease.job.token)
        if len(tries) == 1:
            raise RuntimeError("a bug")
        await store.write(Finish(lease.job))

    await store.write(Enqueue(job()))
    async with working(store, "a", failing):
        await eventually(lambda: len(tries) == 2)

    assert tries[0] < tries[1]


async def test_a_job_that_fails_three_times_is_given_up_and_never_tried_again(store: Store) -> None:
    tries: list[int] = []
    given_up: list[str] = []

    async def failing(lease: Lease) -> None:
        tries.append(lease.job.token)
        raise RuntimeError("a bug")

    async def give_up(lease: Lease) -> None:
        given_up.append(lease.job.id)
        await store.write(Finish(lease.job))

    jobs = Jobs(store, "a", poll=0.02, lease=60)
    jobs.register("k", failing, concurrency=10, give_up=give_up)
    await store.write(Enqueue(job()))
    await jobs.start()
    await eventually(lambda: bool(given_up))
    await jobs.stop(5)

    assert (len(tries), given_up) == (ATTEMPTS, ["1"])
    assert list(await store.take_jobs("k", "b", 60, 10)) == []


async def test_a_job_whose_object_is_too_large_is_given_up_at_once(store: Store) -> None:
    ended: list[str] = []

    async def work(lease: Lease) -> None:
        ended.append("tried")
        raise DocumentTooLarge("It has too many bytes.")

    async def give_up(lease: Lease) -> None:
        await store.write(Finish(lease.job))
        ended.append("given up")

    jobs = Jobs(store, "a", poll=0.02, lease=60)
    jobs.register("k", work, concurrency=10, give_up=give_up)
    await store.write(Enqueue(job()))
    await jobs.start()
    await eventually(lambda: "given up" in ended)
    await jobs.stop(5)

    assert ended == ["tried", "given up"]


async def test_a_job_that_cannot_be_given_up_is_put_off_and_tried_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference.jobs, "PAUSE_SECONDS", 0.2)
    times: list[float] = []

    async def work(lease: Lease) -> None:
        times.append(time.time())
        if len(times) <= ATTEMPTS + 1:
            raise RuntimeError("a bug")
        await store.write(Finish(lease.job))

    await store.write(Enqueue(job()))
    async with working(store, "a", work):
        await eventually(lambda: len(times) == ATTEMPTS + 2)

    assert all(later - earlier >= 0.2 for earlier, later in pairwise(times[ATTEMPTS - 1 :]))


async def test_a_job_that_kills_its_workers_and_cannot_be_given_up_is_tried_once_after_each_pause(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference.jobs, "PAUSE_SECONDS", 0.2)
    takeovers: list[int] = []

    async def work(lease: Lease) -> None:
        takeovers.append(lease.job.takeovers)
        await store.write(Finish(lease.job))

    deadly = replace(job(due=time.time() - 1, owner="killed"), takeovers=MAX_TAKEOVERS)
    await store.write(Enqueue(deadly))
    started = time.time()
    async with working(store, "survivor", work):
        await eventually(lambda: bool(takeovers))

    assert takeovers == [MAX_TAKEOVERS], "one more loss puts it off again"
    assert time.time() - started >= 0.2


async def test_a_job_whose_end_fails_too_is_removed(store: Store) -> None:
    tries: list[int] = []

    async def failing(lease: Lease) -> None:
        tries.append(1)
        raise RuntimeError("a bug")

    jobs = Jobs(store, "a", poll=0.02, lease=60)
    jobs.register("k", failing, concurrency=10, give_up=failing)
    await store.write(Enqueue(job()))
    await jobs.start()
    await eventually(lambda: len(tries) == ATTEMPTS + 1)
    await jobs.stop(5)

    assert list(await store.take_jobs("k", "b", 60, 10)) == []


async def killed_by(job_id: str, path: Path) -> None:
    """Run a worker that dies by SIGKILL as soon as it has begun the job."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", killed_worker.__name__, f"sqlite:///{path}/astrolabe.db", job_id
    )
    assert await asyncio.wait_for(worker.wait(), 60) == -signal.SIGKILL


async def test_a_job_that_kills_its_workers_is_given_up_after_three_takeovers(
    store: Store, tmp_path: Path
) -> None:
    await store.write(Enqueue(job("deadly")))
    for _ in range(1 + MAX_TAKEOVERS):
        await killed_by("deadly", tmp_path)
    work = Work(store)
    given_up: list[int] = []

    async def give_up(lease: Lease) -> None:
        await store.write(Finish(lease.job))
        given_up.append(lease.job.takeovers)

    jobs = Jobs(store, "survivor", poll=0.02, lease=LEASE)
    jobs.register("k", work, concurrency=10, give_up=give_up)
    await jobs.start()
    await eventually(lambda: bool(given_up))
    await jobs.stop(0)

    assert given_up == [MAX_TAKEOVERS + 1]
    assert work.begun == []
    assert list(await store.take_jobs("k", "other", 60, 10)) == []


async def test_the_last_attempts_of_jobs_whose_workers_were_lost_are_made_one_after_the_other(
    store: Store,
) -> None:
    """One of them killed the workers, and the others only ran beside it."""
    lost = [replace(job(name, due=time.time() - 1), takeovers=MAX_TAKEOVERS) for name in "abc"]
    fresh = job("fresh", due=time.time() - 1)
    await store.write(*(Enqueue(each) for each in (*lost, fresh)))
    running: set[str] = set()
    together: list[set[str]] = []

    async def work(lease: Lease) -> None:
        running.add(lease.job.id)
        together.append(running & set("abc"))
        await asyncio.sleep(0.05)
        running.discard(lease.job.id)
        await store.write(Finish(lease.job))

    async with working(store, "w", work):
        await eventually(lambda: len(together) == 4)

    assert all(len(each) <= 1 for each in together)
    assert set().union(*together) == set("abc")


async def test_a_last_attempt_that_outlives_a_lease_no_longer_keeps_the_others_waiting(store: Store) -> None:
    lost = [replace(job(name, due=time.time() - 1), takeovers=MAX_TAKEOVERS) for name in "ab"]
    await store.write(*(Enqueue(each) for each in lost))
    running: set[str] = set()
    both = asyncio.Event()

    async def work(lease: Lease) -> None:
        running.add(lease.job.id)
        if running == {"a", "b"}:
            both.set()
        await both.wait()
        await store.write(Finish(lease.job))

    async with working(store, "w", work), asyncio.timeout(30):
        await both.wait()


async def test_a_job_that_a_failing_store_interrupts_is_not_counted_as_taken_over(store: Store) -> None:
    """Its worker lives, and lets go of the job once the store answers again."""
    taken: list[Job] = []

    async def interrupted(lease: Lease) -> None:
        taken.append(lease.job)
        raise StoreUnavailable("away")

    await store.write(Enqueue(job()))
    async with working(store, "a", interrupted):
        await eventually(lambda: len(taken) == 2)
    free: list[Job] = []
    async with asyncio.timeout(10):
        while not free:
            free += await store.take_jobs("k", "b", 60, 10)
            await asyncio.sleep(0.01)
    assert free[0].takeovers == 0


async def test_a_job_that_is_interrupted_while_another_is_let_go_of_is_let_go_of_too(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = store.write
    first_release, release, released = asyncio.Event(), asyncio.Event(), set[str]()

    async def interrupted(lease: Lease) -> None:
        if lease.job.id == "second":
            await first_release.wait()
            asyncio.get_running_loop().call_later(0.02, release.set)
        raise StoreUnavailable("away")

    async def slow_release(*operations: Operation) -> list[Document]:
        first_release.set()
        await release.wait()
        documents = await write(*operations)
        released.update(each.job.id for each in operations if isinstance(each, Reschedule))
        return documents

    await store.write(Enqueue(job("first")), Enqueue(job("second")))
    monkeypatch.setattr(store, "write", slow_release)
    jobs = Jobs(store, "a", poll=0.02, lease=60)
    jobs.register("k", interrupted, concurrency=2)
    await jobs.start()
    await eventually(first_release.is_set)
    await eventually(lambda: released == {"first", "second"}, 2)
    await jobs.stop(0)
