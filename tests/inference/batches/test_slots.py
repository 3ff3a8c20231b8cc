"""How many lines are sent at the same time."""

import asyncio

from inference.batches.slots import LineSlots


async def waiting(slots: LineSlots, project: str, model: str, size: int = 1) -> "asyncio.Task[None]":
    """Return a task that acquires a slot, once it has begun to."""
    task = asyncio.create_task(slots.acquire(project, model, size))
    await asyncio.sleep(0)
    return task


async def test_a_project_and_a_model_have_a_bound_each() -> None:
    slots = LineSlots(per_project=2, per_model=3)
    for _ in range(2):
        await slots.acquire("a", "m", 1)
    third = await waiting(slots, "a", "m")
    other = await waiting(slots, "b", "m")
    assert (third.done(), other.done()) == (False, True)
    full = await waiting(slots, "b", "m")
    free = await waiting(slots, "b", "other")
    assert (full.done(), free.done()) == (False, True)
    slots.release("a", "m", 1)
    await third
    assert not full.done()
    slots.release("b", "m", 1)
    await full


async def test_a_line_that_is_larger_than_all_may_be_is_sent_alone() -> None:
    slots = LineSlots(8, 8, most_bytes=100)
    await slots.acquire("a", "m", 60)
    large = await waiting(slots, "a", "m", 500)
    small = await waiting(slots, "a", "m", 1)
    assert not large.done()
    slots.release("a", "m", 60)
    await large
    assert not small.done()
    slots.release("a", "m", 500)
    await small


async def test_a_line_that_no_longer_waits_takes_no_slot() -> None:
    slots = LineSlots(1, 1)
    await slots.acquire("a", "m", 1)
    gone, next_one = await waiting(slots, "a", "m"), await waiting(slots, "a", "m")
    gone.cancel()
    await asyncio.wait([gone])
    slots.release("a", "m", 1)
    await next_one


async def test_a_slot_that_is_given_to_a_cancelled_line_goes_to_the_next() -> None:
    slots = LineSlots(1, 1)
    await slots.acquire("a", "m", 1)
    gone, next_one = await waiting(slots, "a", "m"), await waiting(slots, "a", "m")
    slots.release("a", "m", 1)
    gone.cancel()
    await asyncio.wait([gone])
    assert gone.cancelled()
    await next_one
