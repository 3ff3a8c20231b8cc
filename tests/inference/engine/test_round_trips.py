"""What an operation asks of the store: a table that holds, verb by verb."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from handlers import run_steps
from inference.gateway import Gateway
from persistence.store import Append, Store
from persistence.types import JSON
from tests.counting import CountingStore
from tests.inference.engine.mortal import MortalStore
from tests.inference.engine.process import Process, collect, names, process, script, until
from tests.inference.engine.test_odd_providers import raw

ROUND_TRIPS = {
    "a run is read": 1,
    "a plain streamed run": 5,
    "a plain background run": 5,
    "a message is added": 2,
    "a step is read": 2,
}
"""An answer that comes over time costs one write more for its first word, and one for every 100 ms."""


@pytest.fixture
async def worker(store: Store, gateway: Gateway) -> AsyncIterator[Process]:
    """Without polls and renewals, which go on at their own pace."""
    worker = Process(CountingStore(store), gateway)
    yield worker
    await worker.jobs.stop(0)


async def _ended(worker: Process) -> bool:
    return not worker.jobs._running


async def test_each_operation_costs_no_more_round_trips_than_the_table_says(worker: Process) -> None:
    store: CountingStore = worker.store  # type: ignore[assignment]
    assistant, thread = await worker.assistant(), await worker.thread(script({"text": "One two three."}))
    run: JSON = {}

    async def stream() -> None:
        events = await collect(await worker.stream(thread["id"], assistant["id"]))
        run.update(events[0][2])
        await until(lambda: _ended(worker))

    async def background() -> None:
        await worker.run(thread["id"], assistant["id"])
        await until(lambda: _ended(worker))

    async def read_step() -> None:
        await run_steps.get_run_step(worker.context(), thread["id"], run["id"], step["id"])

    async def measure(act: Callable[[], Awaitable[Any]]) -> int:
        store.calls.clear()
        await act()
        return store.calls.total()

    counted = {"a plain streamed run": await measure(stream)}
    counted["a plain background run"] = await measure(background)
    (step,) = await worker.steps(run)
    counted["a run is read"] = await measure(lambda: worker.get(run))
    counted["a step is read"] = await measure(read_step)
    counted["a message is added"] = await measure(lambda: worker.message(thread["id"], "Hello"))

    assert counted == ROUND_TRIPS


async def test_streamed_text_is_written_at_most_ten_times_a_second(worker: Process) -> None:
    store: CountingStore = worker.store  # type: ignore[assignment]
    assistant = await worker.assistant()
    thread = await worker.thread(script({"text": "word " * 200, "delay": 0.005}))
    store.calls.clear()
    started = asyncio.get_running_loop().time()

    events = await collect(await worker.stream(thread["id"], assistant["id"]))

    took = asyncio.get_running_loop().time() - started
    assert len(events) > 200
    assert store.calls["write"] <= 4 + took * 10


async def test_reasoning_that_no_client_sees_is_not_written_alone(store: Store, gateway: Gateway) -> None:
    recording = MortalStore(store)
    async with process(recording, gateway) as worker:  # type: ignore[arg-type]
        turn = {**raw(*[{"reasoning_content": "hm "}] * 60, {"content": "One."}), "raw_size": 40}
        assistant, thread = await worker.assistant(), await worker.thread(script(turn))
        events = await collect(await worker.stream(thread["id"], assistant["id"]))

    assert names(events)[-2:] == ["thread.run.completed", "done"]
    written = [each.events for write in recording.writes for each in write if isinstance(each, Append)]
    assert any(b"rs_" in line for lines in written for line in lines)
    assert [
        lines for lines in written if all(b"rs_" in line or b"TurnStarted" in line for line in lines)
    ] == []
