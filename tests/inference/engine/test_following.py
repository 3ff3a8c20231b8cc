"""Following a run's events: from any number, from any process, to the end."""

import asyncio
from functools import partial

import pytest

from handlers import runs
from handlers.errors import NotFound
from inference.engine.errors import EventsGone
from inference.engine.feeds import BACKLOG, Reader
from inference.gateway import Gateway
from persistence.store import Append, Store
from tests.inference.engine.process import (
    Process,
    collect,
    names,
    parsed,
    process,
    script,
    until,
)

WEATHER = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
CALL = {"calls": [{"name": "get_weather", "arguments": {}}]}


async def test_another_process_follows_a_run_while_it_streams(
    store: Store, worker: Process, gateway: Gateway
) -> None:
    assistant = await worker.assistant()
    thread = await worker.thread(script({"text": "word " * 30, "delay": 0.02}))
    stream = await worker.stream(thread["id"], assistant["id"])
    first = await anext(stream)

    async with process(store, gateway) as other:
        followed, streamed = await asyncio.gather(other.events(first[2]), collect(stream))

    assert followed == [first, *streamed]


async def test_events_are_replayed_from_any_number_on(worker: Process) -> None:
    assistant, thread = await worker.assistant(), await worker.thread(script({"text": "One two three."}))
    events = await collect(await worker.stream(thread["id"], assistant["id"]))
    run = events[0][2]

    for number, _, _ in events:
        assert await worker.events(run, number) == (events[number + 1 :] or events[-1:])


async def test_a_replay_continues_over_all_attempts_of_a_run(worker: Process) -> None:
    assistant = await worker.assistant(tools=WEATHER)
    thread = await worker.thread(script(CALL, {"text": "Fine.", "wait": 0.3}))
    run = await worker.settled(await worker.run(thread["id"], assistant["id"]))
    assert names(await worker.events(run))[-2:] == ["thread.run.requires_action", "done"]
    (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]

    await worker.submit(run, **{call["id"]: "sunny"})
    events = await worker.events(run)

    assert names(events).count("done") == 1
    assert names(events)[-2:] == ["thread.run.completed", "done"]
    assert "thread.run.requires_action" in names(events)


async def test_a_log_that_is_gone_or_from_an_older_version_is_404(store: Store, gateway: Gateway) -> None:
    async with process(store, gateway, log_lifetime=1.0) as worker:
        assistant, thread = await worker.assistant(), await worker.thread(script({"text": "One."}))
        run = await worker.settled(await worker.run(thread["id"], assistant["id"]))

        async def gone() -> bool:
            await store.sweep()
            return not await store.read_log("p", run["id"])

        await until(gone)

        with pytest.raises(EventsGone, match="no longer kept"):
            await runs.get_run_events(worker.context(), thread["id"], run["id"], -1)

        of_another_version = b'id: 0\nevent: thread.run.created\ndata: {"object": "thread.run"}\n\n'
        await store.write(Append("p", run["id"], 0, [of_another_version]))
        with pytest.raises(EventsGone, match="no longer kept"):
            await runs.get_run_events(worker.context(), thread["id"], run["id"], -1)


async def test_a_run_of_another_thread_is_404(worker: Process) -> None:
    assistant, thread = await worker.assistant(), await worker.thread(script({"text": "One."}))
    other = await worker.thread()
    run = await worker.settled(await worker.run(thread["id"], assistant["id"]))
    context = worker.context()

    for call in (runs.get_run, partial(runs.get_run_events, starting_after=-1), runs.cancel_run):
        with pytest.raises(NotFound, match=f"No run found with id '{run['id']}'"):
            await call(context, other["id"], run["id"])


async def test_a_slow_reader_goes_on_in_the_log(worker: Process) -> None:
    """It is cut off from the live events when it is too far behind, and misses none."""
    assistant = await worker.assistant()
    thread = await worker.thread(script({"text": "word " * (BACKLOG + 500)}))
    body = {"assistant_id": assistant["id"], "stream": True}
    stream = await runs.create_run(worker.context(), thread["id"], body)
    frames = parsed(stream.events)
    first = await anext(frames)

    await worker.settled(first[2])
    events = [first, *await collect(frames)]

    assert [number for number, _, _ in events] == list(range(len(events)))
    assert len(events) > BACKLOG
    assert events[-1][1] == "done"


async def test_a_reader_has_a_bounded_backlog() -> None:
    reader = Reader()
    reader.put([(number, b"x") for number in range(BACKLOG)])
    reader.put([(BACKLOG, b"x")])

    assert await reader.read() == []
