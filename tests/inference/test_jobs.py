"""Jobs: taken when they are due, held by renewals, given up when the lease is lost."""

import asyncio
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import structlog

import inference.jobs
from inference.jobs import ATTEMPTS, Handler, Jobs
from inference.leases import RENEWAL, Lease
from inference.limits import MAX_TAKEOVERS
from persistence.engines import open_store
from persistence.errors import DocumentTooLarge, LeaseLost, StoreUnavailable
from persistence.store import Document, Enqueue, Finish, Hold, Job, Operation, Reschedule, Store
from tests.fixtures.stores import store
from tests.inference import killed_worker, slow_worker

__all__ = ["store"]

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
    """A handler that notes what it is given, and ends it when it is told to."""

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
