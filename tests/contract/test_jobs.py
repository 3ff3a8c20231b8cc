import asyncio
import secrets
import threading
import time
from dataclasses import replace

import pytest

from persistence.errors import LeaseLost, VersionConflict
from persistence.store import (
    Cancel,
    Enqueue,
    Finish,
    Hold,
    Job,
    Replace,
    Reschedule,
    Store,
)
from tests.contract.samples import List

LEASE = 60.0


@pytest.fixture
def job(project: str, kind: str) -> Job:
    return Job(project, kind, "run_1", due=time.time() - 1, payload={"thread": "thread_1", "n": [1, None]})


async def take(
    store: Store, kind: str, owner: str = "worker", lease: float = LEASE, limit: int = 10
) -> list[Job]:
    """The jobs that are due; asked until some are, as an engine may take its time to show them."""
    deadline = time.monotonic() + 10
    while True:
        jobs = list(await store.take_jobs(kind, owner, lease, limit))
        if jobs or time.monotonic() > deadline:
            return jobs
        await asyncio.sleep(0.02)


async def test_a_job_that_is_due_is_taken_with_its_payload_and_a_new_token(store: Store, job: Job) -> None:
    await store.write(Enqueue(job))
    before = time.time()
    [taken] = await take(store, job.kind)
    assert (taken.project, taken.kind, taken.id) == (job.project, job.kind, job.id)
    assert (taken.payload, taken.owner) == (job.payload, "worker")
    assert taken.token > job.token
    assert before + LEASE - 5 <= taken.due <= time.time() + LEASE + 5


async def test_a_job_is_not_taken_before_it_is_due(store: Store, project: str, kind: str) -> None:
    await store.write(Enqueue(Job(project, kind, "later", due=time.time() + 3600)))
    await store.write(Enqueue(Job(project, kind, "now", due=time.time() - 1)))
    assert [job.id for job in await take(store, kind)] == ["now"]
    assert await store.take_jobs(kind, "other", LEASE, 10) == []


async def test_jobs_of_skipped_projects_are_left_for_later(store: Store, project: str, kind: str) -> None:
    other = f"{project}-other"
    for id in ("a", "b", "c"):
        await store.write(Enqueue(Job(project, kind, id, due=time.time() - 2)))
    await store.write(Enqueue(Job(other, kind, "d", due=time.time() - 1)))
    deadline = time.monotonic() + 10
    while not (jobs := await store.take_jobs(kind, "worker", LEASE, 10, [project])):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert [(job.project, job.id) for job in jobs] == [(other, "d")]
    taken: set[str] = set()
    while len(taken) < 3:
        taken |= {job.id for job in await take(store, kind)}
    assert taken == {"a", "b", "c"}


async def test_a_job_comes_due_as_time_passes(store: Store, project: str, kind: str) -> None:
    due = time.time() + 0.2
    await store.write(Enqueue(Job(project, kind, "soon", due=due)))
    [job] = await take(store, kind)
    assert time.time() >= due
    assert job.id == "soon"


async def test_a_job_that_is_held_is_not_taken_again(store: Store, job: Job) -> None:
    await store.write(Enqueue(job))
    await take(store, job.kind)
    assert await store.take_jobs(job.kind, "other", LEASE, 10) == []


async def test_jobs_of_another_kind_are_left_alone(store: Store, job: Job, kind: str) -> None:
    await store.write(Enqueue(job))
    assert await store.take_jobs(f"{kind}x", "worker", LEASE, 10) == []
    assert len(await take(store, kind)) == 1


async def test_at_most_the_limit_is_taken(store: Store, project: str, kind: str) -> None:
    due = time.time() - 100
    await store.write(*(Enqueue(Job(project, kind, f"run_{n}", due=due + n)) for n in range(5)))
    taken: list[str] = []
    while len(taken) < 5:
        jobs = await take(store, kind, limit=2)
        assert 1 <= len(jobs) <= 2
        taken += [job.id for job in jobs]
    assert sorted(taken) == [f"run_{n}" for n in range(5)]


async def test_each_job_goes_to_one_of_many_takers(store: Store, project: str, kind: str) -> None:
    due = time.time() - 1
    await store.write(*(Enqueue(Job(project, kind, f"run_{n}", due=due)) for n in range(30)))
    taken: list[str] = []

    async def work(owner: str) -> None:
        while len(taken) < 30:
            taken.extend(job.id for job in await store.take_jobs(kind, owner, LEASE, 3))
            await asyncio.sleep(0)

    async with asyncio.timeout(30):
        await asyncio.gather(*(work(f"worker {number}") for number in range(8)))
    assert sorted(taken) == sorted(f"run_{n}" for n in range(30))


async def test_a_lease_that_ran_out_is_taken_by_a_greater_token_and_its_holder_writes_nothing(
    messages: List, job: Job
) -> None:
    store = messages.store
    await store.write(Enqueue(job))
    [old] = await take(store, job.kind, "paused", lease=0)
    [new] = await take(store, job.kind, "fresh")
    assert new.token > old.token
    for operation in (Hold(old), Finish(old), Reschedule(old, time.time())):
        with pytest.raises(LeaseLost):
            await store.write(operation, messages.insert("msg_late"))
    with pytest.raises(LeaseLost):
        await store.renew_job(old, LEASE)
    assert await messages.ids() == []
    await store.write(Hold(new), messages.insert("msg_1"))
    assert await messages.ids() == ["msg_1"]


async def test_a_lease_that_ran_out_but_that_nobody_took_still_holds(messages: List, job: Job) -> None:
    await messages.store.write(Enqueue(job))
    [held] = await take(messages.store, job.kind, lease=0)
    await messages.store.write(Hold(held), messages.insert("msg_1"))
    renewed = await messages.store.renew_job(held, LEASE)
    await messages.store.write(Finish(renewed))


async def test_a_renewed_job_is_held_for_longer_by_the_same_token(store: Store, job: Job) -> None:
    await store.write(Enqueue(job))
    [held] = await take(store, job.kind, lease=5)
    renewed = await store.renew_job(held, LEASE)
    assert (renewed.token, renewed.owner, renewed.payload) == (held.token, held.owner, held.payload)
    assert renewed.due > held.due + LEASE / 2
    await store.write(Hold(held))
    await store.write(Finish(renewed))


async def test_renewing_with_no_lease_frees_the_job_at_once(store: Store, job: Job) -> None:
    await store.write(Enqueue(job))
    [held] = await take(store, job.kind)
    await store.renew_job(held, 0)
    [again] = await take(store, job.kind, "other")
    assert again.token > held.token


async def test_a_finished_job_is_gone(store: Store, job: Job) -> None:
    await store.write(Enqueue(job))
    [held] = await take(store, job.kind, lease=0)
    await store.write(Finish(held))
    assert await store.take_jobs(job.kind, "other", LEASE, 10) == []
    for operation in (Hold(held), Finish(held), Reschedule(held, 0)):
        with pytest.raises(LeaseLost):
            await store.write(operation)


async def test_a_token_is_not_used_again_after_finish_and_enqueue(store: Store, job: Job) -> None:
    tokens = []
    for _ in range(3):
        await store.write(Enqueue(job))
        [held] = await take(store, job.kind)
        tokens.append(held.token)
        await store.write(Finish(held))
    assert tokens == sorted(set(tokens))


async def test_a_rescheduled_job_is_free_at_its_time_with_its_new_payload(store: Store, job: Job) -> None:
    await store.write(Enqueue(job))
    [held] = await take(store, job.kind)
    await store.write(Reschedule(held, time.time() - 1, payload={"attempt": 2}))
    with pytest.raises(LeaseLost):
        await store.write(Hold(held))
    [again] = await take(store, job.kind, "other")
    assert again.payload == {"attempt": 2}
    await store.write(Reschedule(again, time.time() + 3600))
    assert await store.take_jobs(job.kind, "other", LEASE, 10) == []


async def test_rescheduling_without_a_payload_keeps_it(store: Store, job: Job) -> None:
    await store.write(Enqueue(job))
    [held] = await take(store, job.kind)
    await store.write(Reschedule(held, time.time() - 1))
    [again] = await take(store, job.kind)
    assert again.payload == job.payload


async def test_a_job_enqueued_with_an_owner_is_held_by_its_own_token(
    store: Store, project: str, kind: str
) -> None:
    mine = Job(project, kind, "run_1", due=time.time() + LEASE, owner="worker", payload={"a": 1})
    await store.write(Enqueue(mine))
    assert await store.take_jobs(kind, "other", LEASE, 10) == []
    await store.write(Hold(mine))
    renewed = await store.renew_job(mine, 0)
    [taken] = await take(store, kind, "other")
    assert taken.token > mine.token
    with pytest.raises(LeaseLost):
        await store.write(Hold(renewed))


async def test_a_job_that_nobody_holds_cannot_be_proven_to_be_held(store: Store, job: Job) -> None:
    await store.write(Enqueue(job))
    for operation in (Hold(job), Finish(job)):
        with pytest.raises(LeaseLost):
            await store.write(operation)


async def test_taking_a_lease_that_ran_out_counts_as_a_takeover(store: Store, job: Job) -> None:
    await store.write(Enqueue(job))
    counts = []
    for owner in ("killed", "killed too", "survivor"):
        [held] = await take(store, job.kind, owner, lease=0)
        counts.append(held.takeovers)
    assert counts == [0, 1, 2]
    assert (await store.renew_job(held, 0)).takeovers == 2
    [held] = await take(store, job.kind, "last")
    assert (held.takeovers, held.payload) == (3, job.payload)


async def test_a_job_that_its_holder_lets_go_of_is_not_counted_as_taken_over(store: Store, job: Job) -> None:
    await store.write(Enqueue(job))
    for owner in ("stopping", "stopping too"):
        [held] = await take(store, job.kind, owner)
        await store.write(Reschedule(held, time.time() - 1))
    [held] = await take(store, job.kind, "killed", lease=0)
    assert held.takeovers == 0
    [held] = await take(store, job.kind, "stopping")
    await store.write(Reschedule(held, time.time() - 1))
    [held] = await take(store, job.kind, "survivor")
    assert held.takeovers == 1


async def test_a_lease_that_is_renewed_late_or_taken_again_by_its_owner_is_no_takeover(
    store: Store, job: Job
) -> None:
    await store.write(Enqueue(job))
    [held] = await take(store, job.kind, "slow", lease=0)
    await store.renew_job(held, 0)
    [again] = await take(store, job.kind, "slow")
    assert again.token > held.token
    assert again.takeovers == 0


async def test_a_job_that_is_enqueued_again_was_never_taken_over(store: Store, job: Job) -> None:
    await store.write(Enqueue(job))
    await take(store, job.kind, "killed", lease=0)
    [held] = await take(store, job.kind, "survivor", lease=0)
    assert held.takeovers == 1
    await store.write(Enqueue(job))
    [held] = await take(store, job.kind, "survivor", lease=0)
    assert held.takeovers == 0


async def test_only_the_holder_of_a_job_can_enqueue_it_again_under_its_lease(store: Store, job: Job) -> None:
    await store.write(Enqueue(job))
    [lost] = await take(store, job.kind, "killed", lease=0)
    [held] = await take(store, job.kind, "survivor")
    later = replace(held, due=time.time() - 1, owner="", payload={"n": 2}, takeovers=7)
    with pytest.raises(LeaseLost):
        await store.write(Hold(lost), Enqueue(replace(later, payload={"n": 3})))
    await store.write(Hold(held), Enqueue(later))
    with pytest.raises(LeaseLost):
        await store.write(Hold(held))
    [again] = await take(store, job.kind, "next")
    assert (again.payload, again.takeovers) == ({"n": 2}, 7)
    assert again.token > held.token


async def test_enqueueing_again_takes_the_job_from_its_holder(store: Store, job: Job) -> None:
    await store.write(Enqueue(job))
    [held] = await take(store, job.kind)
    await store.write(Enqueue(Job(job.project, job.kind, job.id, due=time.time() - 1, payload={"new": True})))
    with pytest.raises(LeaseLost):
        await store.write(Finish(held))
    [again] = await take(store, job.kind, "other")
    assert (again.id, again.payload) == (job.id, {"new": True})
    assert await store.take_jobs(job.kind, "third", LEASE, 10) == []


async def test_a_cancelled_job_is_gone_and_its_holder_writes_nothing(store: Store, job: Job) -> None:
    await store.write(Enqueue(job))
    [held] = await take(store, job.kind)
    await store.write(Cancel(job.project, job.kind, job.id))
    with pytest.raises(LeaseLost):
        await store.write(Hold(held))
    await store.write(Cancel(job.project, job.kind, job.id))
    await store.write(Enqueue(job))
    await store.write(Cancel(job.project, job.kind, job.id))
    assert await store.take_jobs(job.kind, "other", LEASE, 10) == []


async def test_a_job_is_enqueued_only_with_the_write_it_belongs_to(messages: List, job: Job) -> None:
    stale = await messages.add("msg_1")
    await messages.store.write(Replace(stale, value={}))
    with pytest.raises(VersionConflict):
        await messages.store.write(Replace(stale, value={}), Enqueue(job))
    assert await messages.store.take_jobs(job.kind, "worker", LEASE, 10) == []


async def test_jobs_of_one_id_in_two_projects_are_two(store: Store, job: Job) -> None:
    other = Job(f"{job.project}x", job.kind, job.id, due=job.due)
    await store.write(Enqueue(job), Enqueue(other))
    held: list[Job] = []
    while len(held) < 2:
        held += await take(store, job.kind)
    assert {job.project for job in held} == {job.project, other.project}
    await store.write(Cancel(other.project, job.kind, job.id))
    [mine] = [taken for taken in held if taken.project == job.project]
    await store.write(Hold(mine))


async def test_looking_for_work_costs_the_same_after_many_finished_jobs(
    store: Store, project: str, kind: str
) -> None:
    """A queue that reads through what it has removed gets slower with every job."""

    async def idle() -> float:
        times = []
        for _ in range(20):
            began = time.perf_counter()
            assert await store.take_jobs(kind, "worker", LEASE, 10) == []
            times.append(time.perf_counter() - began)
        return sorted(times)[2]

    before = await idle()
    for _ in range(5):
        names = [secrets.token_hex(8) for _ in range(40)]
        await store.write(*(Enqueue(Job(project, kind, name, due=time.time() - 1)) for name in names))
        finished = 0
        while finished < 40:
            jobs = await take(store, kind, limit=40)
            assert jobs
            await asyncio.gather(*(store.write(Finish(job)) for job in jobs))
            finished += len(jobs)
    assert await idle() < before * 10 + 0.005


async def test_a_lease_is_renewed_by_another_thread_while_this_event_loop_is_blocked(
    store: Store, job: Job
) -> None:
    await store.write(Enqueue(job))
    [taken] = await take(store, job.kind, lease=5)
    renewed: list[Job] = []

    async def renew() -> None:
        renewed.append(await store.renew_job(taken, LEASE))

    thread = threading.Thread(target=asyncio.run, args=(renew(),))
    thread.start()
    thread.join()  # blocks the loop
    assert renewed[0].due > taken.due
    await store.write(Hold(renewed[0]))
    await store.write(Finish(renewed[0]))
