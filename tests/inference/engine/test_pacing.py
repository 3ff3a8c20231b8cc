"""Busy runs leave the event loop to others between any two of their slices."""

import asyncio

from inference.engine.pacing import Pacer


async def test_one_busy_task_continues_in_each_turn_of_the_event_loop() -> None:
    pacer, turns = Pacer(), [""]

    async def work(name: str) -> None:
        for _ in range(5):
            await pacer.pause()
            turns[-1] += name

    tasks = [asyncio.create_task(work(name)) for name in "abcd"]
    while not all(task.done() for task in tasks):
        turns.append("")
        await asyncio.sleep(0)
    assert "".join(turns) == "abcd" * 5
    assert max(map(len, turns)) == 1


async def test_a_task_that_was_cancelled_keeps_nobody_waiting() -> None:
    pacer = Pacer()
    first, second = (asyncio.create_task(pacer.pause()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait_for(second, 5)
