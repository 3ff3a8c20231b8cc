import asyncio

from inference.fair_slots import FairSlots


def taken(slots: FairSlots, project: str) -> int:
    """Take as many slots as the project may; return how many."""
    count = 0
    while slots.has_room(project):
        slots.take(project)
        count += 1
    return count


def test_each_project_gets_half_of_what_is_left() -> None:
    slots = FairSlots(8)
    assert [taken(slots, project) for project in "abcd"] == [4, 2, 1, 1]
    assert slots.free == 0
    assert sorted(slots.exhausted()) == ["a", "b", "c", "d"]


def test_what_may_be_taken_at_once_is_what_one_project_may_take_one_by_one() -> None:
    slots = FairSlots(9)
    for project, room in (("a", 5), ("b", 2), ("c", 1), ("d", 1), ("e", 0)):
        assert slots.room() == room
        assert taken(slots, project) == room
    slots.release("a")
    slots.release("b")
    assert slots.room() == 1, "'b' holds one and may take one of the two"


def test_a_released_slot_goes_to_a_project_that_holds_none() -> None:
    slots = FairSlots(8)
    for project in "abcd":
        taken(slots, project)
    slots.release("a")
    assert not slots.has_room("a")
    assert slots.has_room("e")


async def test_a_project_waits_for_its_own_slots_and_not_for_those_of_others() -> None:
    slots, order = FairSlots(2), list[str]()
    done = asyncio.Event()

    async def work(project: str) -> None:
        async with slots.hold(project):
            order.append(project)
            await done.wait()

    tasks = [asyncio.create_task(work("a")) for _ in range(3)]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(work("b")))
    while len(order) < 2:
        await asyncio.sleep(0)
    assert order == ["a", "b"]
    done.set()
    await asyncio.gather(*tasks)
    assert (slots.free, slots.exhausted()) == (2, [])


async def test_the_project_whose_work_has_cost_least_comes_first() -> None:
    slots, order = FairSlots(1), list[str]()
    done = {project: asyncio.Event() for project in "ab"}

    async def work(project: str) -> None:
        async with slots.hold(project):
            order.append(project)
            await done[project].wait()
            slots.charge(project, 10)

    first = asyncio.create_task(work("a"))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(work(project)) for project in "ab"]
    await asyncio.sleep(0)
    done["a"].set()
    await first
    done["b"].set()
    await asyncio.gather(*waiting)
    assert order == ["a", "b", "a"]
