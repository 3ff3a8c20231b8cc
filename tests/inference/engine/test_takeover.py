"""A worker that is lost at any write of a run: another one finishes the run, once."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from handlers.errors import BadRequest
from inference.gateway import Gateway
from persistence.store import Append, Hold, Store
from persistence.types import JSON
from tests.contract.engines import ENGINES
from tests.inference.engine.mortal import MortalStore, PausedStore
from tests.inference.engine.process import (
    Event,
    Process,
    collect,
    process,
    script,
    text_of,
)

LEASES = {"SQLiteStore": 0.4, "CassandraStore": 3.0}
"""Seconds; short, so that a lost worker is missed soon, and long enough for an engine's renewals."""

TORN_LEASE = 3.0

WEATHER = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
ANSWER = "One two three four five six seven eight nine."
PLAIN = [{"text": ANSWER, "delay": 0.03}]
TOOLS = [
    {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}], "delay": 0.03},
    {"text": "So I ask again.", "calls": [{"name": "get_weather", "arguments": {"city": "Rome"}}]},
    {"text": "It is {tool} there.", "delay": 0.03},
]
SCRIPTS = {"plain": PLAIN, "tools": TOOLS}
SAID = {"plain": [ANSWER], "tools": ["So I ask again.", "It is sunny there."]}


class Story:
    """One run through the hands of two workers, and what its client saw."""

    whole_writes = True
    """Whether the engine does all of a write or none of it, so that the log has all that is stored."""

    def __init__(self, store: Store, gateway: Gateway, name: str, *, live: bool) -> None:
        self.store, self.gateway = store, gateway
        self.name, self.live = name, live
        self.lease = LEASES[type(store).__name__]
        self.seen: list[Event] = []
        self.run: JSON = {}

    async def tell(self, mortal: MortalStore) -> None:
        """Let the first worker go on until it dies or the run is over, then another finish it."""
        async with process(mortal, self.gateway, lease=self.lease) as first:  # type: ignore[arg-type]
            assistant = await first.assistant(tools=WEATHER)
            thread = await first.thread(script(*SCRIPTS[self.name]))
            await mortal.live_through(self._first(first, assistant, thread))
        async with process(self.store, self.gateway, lease=self.lease) as second:
            await self._finish(second)
            await self._check(second)

    async def _first(self, worker: Process, assistant: JSON, thread: JSON) -> None:
        if self.live:
            await self._watch(await worker.stream(thread["id"], assistant["id"]))
        else:
            self.run = await worker.run(thread["id"], assistant["id"])
            await worker.settled(self.run)
        while (run := await worker.get(self.run))["status"] == "requires_action":
            outputs = _outputs(run)
            if self.live:
                await self._watch(await worker.submit_stream(run, **outputs))
            else:
                await worker.submit(run, **outputs)
                await worker.settled(run)

    async def _watch(self, events: Any) -> None:
        async for event in events:
            self.run = self.run or event[2]
            self.seen.append(event)

    async def _finish(self, worker: Process) -> None:
        run = await worker.settled(self.run, 60)
        while run["status"] == "requires_action":
            with suppress(BadRequest):  # a write of the dying process can still have come through
                await worker.submit(run, **_outputs(run))
            run = await worker.settled(run, 60)
        assert run["status"] == "completed", run

    async def _check(self, worker: Process) -> None:
        """No message and no step twice, none missing, and none that says else than was sent."""
        run = await worker.get(self.run)
        messages = await worker.messages(run["thread_id"], run_id=run["id"])
        whole = [text_of(each) for each in messages if each["status"] == "completed"]
        assert whole == SAID[self.name], [(each["status"], each["content"]) for each in messages]
        assert {each["status"] for each in messages} <= {"completed", "incomplete"}

        log = await worker.events(run)
        numbers = [number for number, _, _ in log]
        assert numbers == sorted(set(numbers))
        by_number = {number: (name, data) for number, name, data in log}
        for number, name, data in self.seen:
            if name != "done":
                assert by_number[number] == (name, data)
        for message in messages:
            assert text_of(message).startswith(_said(log, message["id"])), "stored is what was sent"
            if self.whole_writes:
                assert text_of(message) == _said(log, message["id"])
            if message["status"] == "incomplete":
                assert self.live
                assert text_of(message).startswith(_said(self.seen, message["id"]))

        steps = await worker.steps(run)
        calls = 0 if self.name == "plain" else 2
        done = [each for each in steps if each["status"] == "completed"]
        assert [each["type"] for each in done].count("tool_calls") == calls
        assert [each["type"] for each in done].count("message_creation") == len(whole)
        assert {each["status"] for each in steps} <= {"completed", "failed"}
        created = {each["step_details"].get("message_creation", {}).get("message_id") for each in steps}
        assert {each["id"] for each in messages} == created - {None}
        assert run["usage"]["total_tokens"] == sum(each["usage"]["total_tokens"] for each in steps)
        await worker.message(run["thread_id"], "The thread takes messages again.")


class TornStory(Story):
    """On an engine without transactions over partitions.

    Its lease is long: a write that is done operation by operation has none of the fences that hold
    an engine's own steps (tests/persistence/cassandra/test_torn_writes.py), so it must not be lost
    in the middle to anything but the death.
    """

    whole_writes = False

    def __init__(self, store: Store, gateway: Gateway, name: str, *, live: bool) -> None:
        super().__init__(store, gateway, name, live=live)
        self.lease = TORN_LEASE


def _outputs(run: JSON) -> dict[str, str]:
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    return {call["id"]: "sunny" for call in calls}


def _said(events: list[Event], message_id: str) -> str:
    return "".join(
        data["delta"]["content"][0]["text"]["value"]
        for _, name, data in events
        if name == "thread.message.delta" and data["id"] == message_id
    )


async def _writes(
    store: Store, gateway: Gateway, name: str, *, live: bool, whole: bool | None = None
) -> list[int]:
    """How many operations come ahead of the lease, in each write of the story that one guards."""
    mortal = MortalStore(store, whole=whole)
    await Story(store, gateway, name, live=live).tell(mortal)
    return [
        next(at for at, each in enumerate(operations) if isinstance(each, Hold))
        for operations in mortal.writes
    ]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", ENGINES, indirect=True)
@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize("live", [True, False], ids=["live", "background"])
@pytest.mark.parametrize("name", ["plain", "tools"])
async def test_a_run_survives_the_loss_of_its_worker_at_any_write(
    store: Store, gateway: Gateway, name: str, live: bool, how: str
) -> None:
    writes = await _writes(store, gateway, name, live=live)
    stories = [
        Story(store, gateway, name, live=live).tell(MortalStore(store, at=at, how=how))
        for at in range(len(writes))
    ]
    await asyncio.gather(*stories)
    async with process(store, gateway, lease=LEASES[type(store).__name__]):
        await asyncio.sleep(2 * LEASES[type(store).__name__])  # for what a stop has cut off
    assert list(await store.take_jobs("run", "nobody", 1, 10)) == [], "no job is left"


@pytest.mark.parametrize("live", [True, False], ids=["live", "background"])
@pytest.mark.parametrize("name", ["plain", "tools"])
async def test_a_run_survives_the_loss_of_its_worker_in_the_middle_of_any_write(
    store: Store, gateway: Gateway, name: str, live: bool
) -> None:
    writes = await _writes(store, gateway, name, live=live, whole=False)
    stories = [
        TornStory(store, gateway, name, live=live).tell(
            MortalStore(store, at=at, how="torn", torn=torn, whole=False)
        )
        for at, operations in enumerate(writes)
        for torn in range(1, operations + 1)
    ]
    await asyncio.gather(*stories)
    async with process(store, gateway, lease=TORN_LEASE):
        await asyncio.sleep(2 * TORN_LEASE)  # for what a stop has cut off
    assert list(await store.take_jobs("run", "nobody", 1, 10)) == [], "no job is left"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("store", ENGINES, indirect=True)
@pytest.mark.parametrize("at", [0, 1], ids=["at its first word", "at its end"])
async def test_a_worker_that_was_paused_adds_nothing_to_a_run_that_another_took_over(
    store: Store, gateway: Gateway, at: int
) -> None:
    paused = PausedStore(store, at)
    first = Process(paused, gateway, lease=0.4)  # type: ignore[arg-type]
    assistant, thread = (
        await first.assistant(),
        await first.thread(script({"text": "One two.", "delay": 0.02})),
    )
    stream = asyncio.ensure_future(collect(await first.stream(thread["id"], assistant["id"])))
    await paused.paused.wait()
    async with process(store, gateway, lease=LEASES[type(store).__name__]) as second:
        (run,) = await second.list_runs(thread["id"])
        await second.settled(run, 60)
        before = (await second.messages(thread["id"]), await second.steps(run), await second.get(run))
        paused.resumed.set()
        events = await stream
        assert paused.lost
        assert (await second.messages(thread["id"]), await second.steps(run), await second.get(run)) == before
        assert [text_of(each) for each in before[0] if each["status"] == "completed"][-1] == "One two."
        assert events[-1][1] == "done"
    await first.jobs.stop(0)


async def test_a_turn_is_never_written_without_the_status_that_it_leaves_the_run_in(
    store: Store, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.engine.attempt.SLICE", 1)
    monkeypatch.setattr("inference.engine.unit_of_work.INTERVAL", 0.0)
    recording = MortalStore(store)
    async with process(recording, gateway) as worker:  # type: ignore[arg-type]
        assistant, thread = await worker.assistant(), await worker.thread(script(*PLAIN))
        await collect(await worker.stream(thread["id"], assistant["id"]))

    written = [
        b" ".join(each.events) for write in recording.writes for each in write if isinstance(each, Append)
    ]
    assert len(written) > 2
    assert [b"RunMoved" in each for each in written if b"TurnFinished" in each] == [True]


async def test_a_run_that_two_workers_lost_in_one_turn_is_finished_once(
    store: Store, gateway: Gateway
) -> None:
    tools = [{"text": "So I ask.", "calls": [{"name": "get_weather", "arguments": {}}], "delay": 0.05}]
    first = MortalStore(store, at=1, how="after")
    async with process(first, gateway, lease=0.4) as worker:  # type: ignore[arg-type]
        assistant = await worker.assistant(tools=WEATHER)
        thread = await worker.thread(script(TOOLS[0], *tools, {"text": "Fine.", "delay": 0.05}))
        run = await worker.settled(await worker.run(thread["id"], assistant["id"]))
        stream = await worker.submit_stream(run, **_outputs(run))
        watching = asyncio.ensure_future(collect(stream))
        await first.dead.wait()
        watching.cancel()
    second = MortalStore(store, at=0, how="after")
    async with process(second, gateway, lease=0.4) as worker:  # type: ignore[arg-type]
        await second.dead.wait()
    async with process(store, gateway, lease=0.4) as worker:
        run = await worker.settled(run, 60)
        assert run["status"] == "requires_action"
        await worker.submit(run, **_outputs(run))
        run = await worker.settled_from(run, "requires_action")
        messages = await worker.messages(run["thread_id"], run_id=run["id"])

    assert run["status"] == "completed"
    assert [text_of(each) for each in messages if each["status"] == "completed"] == ["So I ask.", "Fine."]
    assert {each["status"] for each in messages} == {"completed", "incomplete"}
