"""Two replicas whose clocks are two seconds apart, on a real node; time passes when the test says so."""

import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from persistence.cassandra import CassandraStore
from persistence.errors import ContentNotFound, LeaseLost
from persistence.retry import update_with_retry
from persistence.store import (
    Check,
    Enqueue,
    Finish,
    Hold,
    Insert,
    Job,
    Key,
    Replace,
    Reschedule,
)

pytestmark = pytest.mark.cassandra

SKEW = 2.0
LEASE = 10.0
RENEWAL = 3.0


@dataclass
class Time:
    """The true time."""

    now: float


@pytest.fixture
def true() -> Time:
    return Time(time.time())


async def replica(store: CassandraStore, true: Time, skew: float) -> CassandraStore:
    """A replica's store, whose clock and whose driver's clock are off by some seconds."""
    replica = CassandraStore(store.target, lambda: true.now + skew)
    await replica.open()
    replica.connection.session.cluster.timestamp_generator = lambda: int((time.time() + skew) * 1_000_000)
    return replica


@pytest.fixture
async def ahead(store: CassandraStore, true: Time) -> AsyncIterator[CassandraStore]:
    ahead = await replica(store, true, SKEW / 2)
    yield ahead
    await ahead.close()


@pytest.fixture
async def behind(store: CassandraStore, true: Time) -> AsyncIterator[CassandraStore]:
    behind = await replica(store, true, -SKEW / 2)
    yield behind
    await behind.close()


@pytest.fixture(params=["ahead", "behind"])
def pair(
    request: pytest.FixtureRequest, ahead: CassandraStore, behind: CassandraStore
) -> tuple[CassandraStore, CassandraStore]:
    """Both, in either order."""
    return (ahead, behind) if request.param == "ahead" else (behind, ahead)


@pytest.fixture
def job(project: str, true: Time) -> Job:
    return Job(project, f"kind-{secrets.token_hex(4)}", "run_1", due=true.now - SKEW)


async def test_a_job_whose_holder_renews_is_not_taken_by_a_replica_of_another_time(
    pair: tuple[CassandraStore, CassandraStore], true: Time, job: Job
) -> None:
    holder, other = pair
    await holder.write(Enqueue(job))
    [held] = await holder.take_jobs(job.kind, "holder", LEASE, 1)
    for _ in range(10):
        for _ in range(3):
            assert await other.take_jobs(job.kind, "other", LEASE, 1) == []
            true.now += RENEWAL / 3
        held = await holder.renew_job(held, LEASE)
    await holder.write(Hold(held))


async def test_a_renewal_that_comes_late_by_two_tries_still_keeps_the_job(
    behind: CassandraStore, ahead: CassandraStore, true: Time, job: Job
) -> None:
    await behind.write(Enqueue(job))
    [held] = await behind.take_jobs(job.kind, "holder", LEASE, 1)
    true.now += LEASE - SKEW - 0.1
    assert await ahead.take_jobs(job.kind, "other", LEASE, 1) == []
    assert (await behind.renew_job(held, LEASE)).due > held.due


async def test_a_job_that_is_lost_is_taken_within_the_lease_and_the_skew_and_its_old_holder_is_fenced_off(
    pair: tuple[CassandraStore, CassandraStore], true: Time, job: Job, project: str
) -> None:
    holder, other = pair
    await holder.write(Enqueue(job))
    [held] = await holder.take_jobs(job.kind, "holder", LEASE, 1)
    true.now += LEASE + SKEW
    [taken] = await other.take_jobs(job.kind, "other", LEASE, 1)
    for write in (
        holder.write(Hold(held), Insert(Key(project, "messages", "msg_1"), {})),
        holder.renew_job(held, LEASE),
        holder.write(Reschedule(held, due=true.now)),
        holder.write(Finish(held)),
    ):
        with pytest.raises(LeaseLost):
            await write
    await other.write(Finish(taken))


async def test_tokens_grow_whatever_the_clock_of_who_takes_a_job(
    pair: tuple[CassandraStore, CassandraStore], true: Time, job: Job
) -> None:
    await pair[0].write(Enqueue(job))
    tokens = [job.token]
    for _ in range(3):
        for store in pair:
            [taken] = await store.take_jobs(job.kind, "taker", 0.001, 1)
            tokens.append(taken.token)
            true.now += SKEW + 0.01
    assert tokens == sorted(set(tokens))


async def test_an_entry_of_a_clock_that_is_behind_is_not_missed_by_a_poller_that_is_ahead(
    behind: CassandraStore, ahead: CassandraStore, true: Time, job: Job
) -> None:
    await ahead.write(Enqueue(Job(job.project, job.kind, "run_0", due=true.now - SKEW)))
    for _ in range(5):  # until its mark is as near to its now as it ever comes
        for taken in await ahead.take_jobs(job.kind, "poller", LEASE, 10):
            await ahead.write(Finish(taken))
        true.now += 20
    assert await ahead.take_jobs(job.kind, "poller", LEASE, 10) == []
    late = await replica(behind, true, -SKEW / 2 - behind.target.timeout)  # and its write took that long
    await late.write(Enqueue(Job(job.project, job.kind, "run_2", due=true.now - SKEW)))
    await late.close()
    assert [each.id for each in await ahead.take_jobs(job.kind, "poller", LEASE, 10)] == ["run_2"]


async def test_a_poller_that_starts_behind_finds_what_came_after_the_mark_of_one_ahead(
    behind: CassandraStore, ahead: CassandraStore, true: Time, job: Job
) -> None:
    await ahead.write(Enqueue(job))
    for _ in range(10):  # its mark gets into the database on the way
        for taken in await ahead.take_jobs(job.kind, "poller", LEASE, 10):
            await ahead.write(Finish(taken))
        true.now += 20
    await behind.write(Enqueue(Job(job.project, job.kind, "run_2", due=true.now - SKEW)))
    assert [each.id for each in await behind.take_jobs(job.kind, "poller", LEASE, 10)] == ["run_2"]


async def test_a_job_that_is_let_go_ahead_is_free_behind_after_the_skew(
    behind: CassandraStore, ahead: CassandraStore, true: Time, job: Job
) -> None:
    await ahead.write(Enqueue(job))
    [held] = await ahead.take_jobs(job.kind, "holder", LEASE, 1)
    await ahead.write(Reschedule(held, due=true.now + SKEW / 2))
    true.now += SKEW
    assert len(await behind.take_jobs(job.kind, "other", LEASE, 1)) == 1


async def test_of_changes_by_clocks_that_differ_the_later_one_counts(
    pair: tuple[CassandraStore, CassandraStore], project: str
) -> None:
    first, second = pair
    key = Key(project, "threads", "thread_1")
    await first.write(Insert(key, {"n": 0}))
    for number in range(1, 5):
        store = pair[number % 2]
        await update_with_retry(store, key, lambda document, n=number: Replace(document, {"n": n}))
    document = await second.get(key)
    assert document is not None
    assert document.value == {"n": 4}
    await first.write(Check(document))


async def chunks(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def read(store: CassandraStore, project: str, id: str) -> bytes:
    return b"".join([piece async for piece in store.read_content(project, id)])


async def test_a_content_that_is_deleted_by_a_clock_that_is_behind_is_gone_with_all_its_pieces(
    behind: CassandraStore, ahead: CassandraStore, project: str
) -> None:
    await ahead.write_content(project, "file_1", chunks(b"bytes"))
    await behind.delete_content(project, "file_1")
    with pytest.raises(ContentNotFound):
        await read(ahead, project, "file_1")
    assert await stripes(behind, project) == 0


async def test_a_content_that_is_written_anew_by_a_clock_that_is_behind_is_the_newer_one(
    behind: CassandraStore, ahead: CassandraStore, project: str
) -> None:
    await ahead.write_content(project, "file_1", chunks(b"old"))
    await behind.write_content(project, "file_1", chunks(b"new"))
    assert await read(ahead, project, "file_1") == b"new"
    assert await stripes(behind, project) == 1


async def stripes(store: CassandraStore, project: str) -> int:
    """How many partitions of pieces a project has, by a look at the whole table's keys."""
    query = "SELECT DISTINCT project, id, generation, stripe FROM content_pieces"
    scan = await store.connection.scan(query, (), 50)
    return len([row async for rows in scan for row in rows if row[0] == project])
