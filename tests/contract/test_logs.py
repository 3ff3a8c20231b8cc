import asyncio
import time

import pytest

from persistence.errors import LeaseLost
from persistence.store import LOG_LIFETIME, Append, Enqueue, Finish, Hold, Job, Store


def segment(
    project: str, first: int, count: int, id: str = "run_1", lifetime: float = LOG_LIFETIME
) -> Append:
    given = [f"event {number}".encode() for number in range(first, first + count)]
    return Append(project, id, first, given, lifetime)


def events(first: int, count: int) -> list[tuple[int, bytes]]:
    return [(number, f"event {number}".encode()) for number in range(first, first + count)]


async def test_events_come_back_in_order_with_their_numbers(store: Store, project: str) -> None:
    await store.write(segment(project, 0, 3))
    await store.write(segment(project, 3, 1))
    await store.write(segment(project, 4, 2))
    assert list(await store.read_log(project, "run_1")) == events(0, 6)


@pytest.mark.parametrize("after", [-1, 0, 2, 3, 8, 9, 1000])
async def test_reading_goes_on_after_any_number(store: Store, project: str, after: int) -> None:
    for first in range(0, 10, 4):
        await store.write(segment(project, first, min(4, 10 - first)))
    assert list(await store.read_log(project, "run_1", after)) == events(0, 10)[after + 1 :]


async def test_a_log_may_begin_at_any_number(store: Store, project: str) -> None:
    await store.write(segment(project, 7, 2))
    assert list(await store.read_log(project, "run_1")) == events(7, 2)


async def test_events_are_bytes_of_any_kind(store: Store, project: str) -> None:
    given = [b"", b"\x00\xff\n\n", "event: é\ndata: {}\n\n".encode(), b"x" * 300_000]
    await store.write(Append(project, "run_1", 0, given))
    assert list(await store.read_log(project, "run_1")) == list(enumerate(given))


async def test_the_first_of_two_segments_with_one_number_stays(store: Store, project: str) -> None:
    await store.write(Append(project, "run_1", 0, [b"first"]))
    await store.write(Append(project, "run_1", 0, [b"second"]))
    assert list(await store.read_log(project, "run_1")) == [(0, b"first")]


async def test_a_long_log_is_read_in_parts(store: Store, project: str) -> None:
    for first in range(0, 500, 50):
        await store.write(segment(project, first, 50))
    read: list[tuple[int, bytes]] = []
    parts = 0
    while part := await store.read_log(project, "run_1", read[-1][0] if read else -1, limit=100):
        assert 1 <= len(part) <= 200
        read += part
        parts += 1
    assert read == events(0, 500)
    assert parts >= 3


async def test_a_log_that_nobody_wrote_is_empty(store: Store, project: str) -> None:
    assert list(await store.read_log(project, "run_1")) == []


async def test_logs_of_other_ids_and_projects_are_apart(store: Store, project: str) -> None:
    await store.write(
        segment(project, 0, 1), segment(project, 0, 2, id="run_2"), segment(f"{project}x", 0, 3)
    )
    assert list(await store.read_log(project, "run_1")) == events(0, 1)
    assert list(await store.read_log(project, "run_2")) == events(0, 2)
    assert list(await store.read_log(f"{project}x", "run_1")) == events(0, 3)


async def test_a_writer_that_lost_its_lease_appends_nothing(store: Store, project: str, kind: str) -> None:
    stale = Job(project, kind, "run_1", due=time.time() + 60, owner="paused")
    with pytest.raises(LeaseLost):
        await store.write(Hold(stale), segment(project, 0, 1))
    assert list(await store.read_log(project, "run_1")) == []


async def test_a_log_goes_when_its_lifetime_is_over(store: Store, project: str) -> None:
    await store.write(segment(project, 0, 2), segment(project, 0, 2, id="run_2", lifetime=1.0))
    assert list(await store.read_log(project, "run_2")) == events(0, 2)
    deadline = time.monotonic() + 10
    while await store.read_log(project, "run_2"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
        await store.sweep()
    assert list(await store.read_log(project, "run_1")) == events(0, 2)


async def test_a_holder_appends_until_it_finishes_its_job(store: Store, project: str, kind: str) -> None:
    held = Job(project, kind, "run_1", due=time.time() + 60, owner="worker")
    await store.write(Enqueue(held), segment(project, 0, 1))
    await store.write(Hold(held), segment(project, 1, 1))
    await store.write(Finish(held), segment(project, 2, 1))
    with pytest.raises(LeaseLost):
        await store.write(Hold(held), segment(project, 3, 1))
    assert list(await store.read_log(project, "run_1")) == events(0, 3)
