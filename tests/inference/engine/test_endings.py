"""How runs end that do not simply complete: cancelled, expired, failed, incomplete, deleted."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from handlers import runs, threads
from handlers.errors import BadRequest, NotFound
from inference.engine.errors import ConversationBusy, OutputsNotAwaited, OutputsRefused
from inference.gateway import Gateway, Routes
from inference.gateway.routing.routes import Route
from inference.gateway.routing.targets import Target
from persistence.collections import RUNS
from persistence.store import Append, Enqueue, Job, Key, Replace, Reschedule, Store
from persistence.types import JSON
from tests.inference.engine.mortal import MortalStore, PausedStore
from tests.inference.engine.process import (
    Process,
    collect,
    names,
    process,
    script,
    text_of,
    until,
)
from tests.provider import ProviderProcess

WEATHER = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
CALL = {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]}


async def _cancel(worker: Process, run: dict) -> dict:
    return await runs.cancel_run(worker.context(), run["thread_id"], run["id"])


async def test_cancelling_a_stream_keeps_exactly_what_was_sent(worker: Process) -> None:
    assistant = await worker.assistant()
    thread = await worker.thread(script({"text": "word " * 500, "delay": 0.01}))
    events, cancelled = [], None

    async for event in await worker.stream(thread["id"], assistant["id"]):
        events.append(event)
        deltas = [data for _, name, data in events if name == "thread.message.delta"]
        if len(deltas) > 20 and cancelled is None:
            cancelled = await _cancel(worker, events[0][2])

    assert cancelled is not None
    assert cancelled["status"] == "cancelling"
    assert names(events)[-5:] == [
        "thread.run.cancelling",
        "thread.message.incomplete",
        "thread.run.step.cancelled",
        "thread.run.cancelled",
        "done",
    ]
    sent = "".join(
        data["delta"]["content"][0]["text"]["value"]
        for _, name, data in events
        if name == "thread.message.delta"
    )
    run = await worker.get(cancelled)
    assert run["status"] == "cancelled"
    assert run["expires_at"] is None
    (message,) = await worker.messages(thread["id"], run_id=run["id"])
    assert message["status"] == "incomplete"
    assert message["incomplete_details"] == {"reason": "run_cancelled"}
    assert text_of(message) == sent
    await worker.message(thread["id"], "The thread takes messages again.")


async def test_a_run_that_waits_for_outputs_can_be_cancelled(worker: Process) -> None:
    assistant, thread = await worker.assistant(tools=WEATHER), await worker.thread(script(CALL))
    run = await worker.settled(await worker.run(thread["id"], assistant["id"]))
    assert run["status"] == "requires_action"

    await _cancel(worker, run)
    run = await worker.settled_from(run, "requires_action")

    assert run["status"] == "cancelled"
    assert run["required_action"] is None
    assert [step["status"] for step in await worker.steps(run)] == ["cancelled"]


async def test_a_run_that_has_ended_cannot_be_cancelled(worker: Process) -> None:
    assistant, thread = await worker.assistant(), await worker.thread("Hello")
    run = await worker.settled(await worker.run(thread["id"], assistant["id"]))

    with pytest.raises(BadRequest, match="Cannot cancel run with status 'completed'"):
        await _cancel(worker, run)


async def test_a_run_expires_in_the_middle_of_an_answer(store: Store, gateway: Gateway) -> None:
    async with process(store, gateway, lifetime=3.0) as worker:
        assistant = await worker.assistant()
        thread = await worker.thread(script({"text": "word " * 500, "delay": 0.02}))
        events = await collect(await worker.stream(thread["id"], assistant["id"]))

        assert names(events)[-4:] == [
            "thread.message.incomplete",
            "thread.run.step.expired",
            "thread.run.expired",
            "done",
        ]
        run = await worker.get(events[0][2])
        (message,) = await worker.messages(thread["id"], run_id=run["id"])
        assert message["incomplete_details"] == {"reason": "run_expired"}


async def test_a_run_that_waits_for_outputs_expires_with_no_request(store: Store, gateway: Gateway) -> None:
    recording = MortalStore(store)
    async with process(recording, gateway) as worker:  # type: ignore[arg-type]
        assistant, thread = await worker.assistant(tools=WEATHER), await worker.thread(script(CALL))
        run = await worker.settled(await worker.run(thread["id"], assistant["id"]))
        assert run["status"] == "requires_action"
        (release,) = [each for write in recording.writes for each in write if isinstance(each, Reschedule)]
        assert release.due == run["expires_at"]

        await _make_due(store, run, release.job)
        run = await worker.settled_from(run, "requires_action")

        assert run["status"] == "expired"
        assert [step["status"] for step in await worker.steps(run)] == ["expired"]
        assert names(await worker.events(run))[-3:] == [
            "thread.run.step.expired",
            "thread.run.expired",
            "done",
        ]
        await worker.message(thread["id"], "The thread takes messages again.")


async def _make_due(store: Store, run: JSON, job: Job) -> None:
    """Let a run that waits for outputs reach its end now."""
    now = time.time()
    document = await store.get(Key("p", RUNS, run["id"]))
    assert document is not None
    ended = Replace(document, value={**document.value, "expires_at": int(now)})
    await store.write(ended, Enqueue(replace(job, due=now, owner="")))


@pytest.mark.parametrize(
    ("turn", "code"),
    [
        ({"fail": {"status": 429, "message": "Slow down"}}, "rate_limit_exceeded"),
        ({"fail": {"status": 500, "message": "Broken"}}, "server_error"),
        ({"fail": {"status": 400, "message": "Bad prompt"}}, "invalid_prompt"),
        ({"fail": {"status": 0}}, "server_error"),
    ],
)
async def test_a_provider_that_fails_at_once_fails_the_run(worker: Process, turn: dict, code: str) -> None:
    assistant, thread = await worker.assistant(), await worker.thread(script(turn))

    events = await collect(await worker.stream(thread["id"], assistant["id"]))

    assert names(events)[-3:] == ["thread.run.in_progress", "thread.run.failed", "done"]
    run = await worker.get(events[0][2])
    assert run["last_error"]["code"] == code
    assert run["failed_at"] is not None
    await worker.message(thread["id"], "The thread takes messages again.")


@pytest.mark.parametrize(
    "trouble",
    [{"close_after": 3}, {"garbage_after": 3}, {"error_after": 3}],
    ids=lambda each: next(iter(each)),
)
async def test_a_provider_that_breaks_off_in_a_stream_fails_the_run(worker: Process, trouble: dict) -> None:
    assistant = await worker.assistant()
    thread = await worker.thread(script({"text": "One two three four five six.", "delay": 0.02, **trouble}))

    events = await collect(await worker.stream(thread["id"], assistant["id"]))

    assert names(events)[-4:] == [
        "thread.message.incomplete",
        "thread.run.step.failed",
        "thread.run.failed",
        "done",
    ]
    run = await worker.get(events[0][2])
    assert run["last_error"]["code"] == "server_error"
    (message,) = await worker.messages(thread["id"], run_id=run["id"])
    assert message["incomplete_details"] == {"reason": "run_failed"}
    assert text_of(message).startswith("One two")


async def test_a_background_run_whose_provider_breaks_off_leaves_no_message(worker: Process) -> None:
    assistant = await worker.assistant()
    thread = await worker.thread(script({"text": "One two three four five six.", "close_after": 3}))

    run = await worker.settled(await worker.run(thread["id"], assistant["id"]))

    assert run["status"] == "failed"
    assert await worker.messages(thread["id"], run_id=run["id"]) == []
    assert names(await worker.events(run))[-3:] == ["thread.run.in_progress", "thread.run.failed", "done"]


async def test_a_completion_limit_makes_the_run_incomplete(worker: Process) -> None:
    assistant = await worker.assistant()
    thread = await worker.thread(script({"text": "word " * 400}))

    run = await worker.run(thread["id"], assistant["id"], max_completion_tokens=256)
    run = await worker.settled(run)

    assert run["status"] == "incomplete"
    assert run["incomplete_details"] == {"reason": "max_completion_tokens"}
    (message,) = await worker.messages(thread["id"], run_id=run["id"])
    assert message["status"] == "incomplete"
    assert message["incomplete_details"] == {"reason": "max_tokens"}
    assert run["usage"]["completion_tokens"] == 256


async def test_a_prompt_limit_without_room_for_one_message_makes_the_run_incomplete(worker: Process) -> None:
    assistant, thread = await worker.assistant(), await worker.thread("word " * 1000)

    run = await worker.settled(await worker.run(thread["id"], assistant["id"], max_prompt_tokens=256))

    assert run["status"] == "incomplete"
    assert run["incomplete_details"] == {"reason": "max_prompt_tokens"}


async def test_deleting_the_thread_ends_its_stream_and_leaves_nothing(store: Store, worker: Process) -> None:
    assistant = await worker.assistant()
    thread = await worker.thread(script({"text": "word " * 500, "delay": 0.01}))
    events = []

    async for event in await worker.stream(thread["id"], assistant["id"]):
        events.append(event)
        if len(events) == 20:
            await threads.delete_thread(worker.context(), thread["id"])

    assert names(events)[-2:] == ["error", "done"]
    run = events[0][2]
    with pytest.raises(NotFound):
        await worker.get(run)
    for collection, parent in (("messages", thread["id"]), ("runs", thread["id"]), ("run_steps", run["id"])):
        assert (await store.page("p", collection, parent)).documents == []


async def test_deleting_the_assistant_does_not_touch_its_runs(worker: Process) -> None:
    from handlers import assistants

    assistant = await worker.assistant(instructions="Be brief.")
    thread = await worker.thread(script({"text": "One two three.", "wait": 0.2}))
    run = await worker.run(thread["id"], assistant["id"])

    await assistants.delete_assistant(worker.context(), assistant["id"])

    assert (await worker.settled(run))["status"] == "completed"


async def test_a_run_completes_after_its_client_has_disconnected(worker: Process) -> None:
    assistant = await worker.assistant()
    thread = await worker.thread(script({"text": "One two three four five six.", "delay": 0.05}))

    stream = await worker.stream(thread["id"], assistant["id"])
    _, _, run = await anext(stream)
    await stream.aclose()

    assert (await worker.settled(run))["status"] == "completed"
    (message,) = await worker.messages(thread["id"], run_id=run["id"])
    assert text_of(message) == "One two three four five six."


async def test_outputs_that_are_not_exactly_those_awaited_are_refused(worker: Process) -> None:
    assistant = await worker.assistant(tools=WEATHER)
    two = {"calls": [*CALL["calls"], {"name": "get_weather", "arguments": {"city": "Rome"}}]}
    thread = await worker.thread(script(two, {"text": "Fine."}))
    run = await worker.settled(await worker.run(thread["id"], assistant["id"]))
    first, second = (call["id"] for call in run["required_action"]["submit_tool_outputs"]["tool_calls"])
    assert first != second

    for outputs in ({first: "a"}, {first: "a", "call_unknown": "b"}, {first: "a", second: "b", "x": "c"}):
        with pytest.raises(OutputsRefused, match="Expected tool outputs for call_ids"):
            await worker.submit(run, **outputs)

    queued = await worker.submit(run, **{first: "a", second: "b"})
    assert queued["status"] == "queued"
    with pytest.raises(OutputsNotAwaited, match="do not accept tool outputs"):
        await worker.submit(run, **{first: "a", second: "b"})
    assert (await worker.settled(run))["status"] == "completed"
    with pytest.raises(OutputsNotAwaited, match='Runs in status "completed" do not accept tool outputs'):
        await worker.submit(run, **{first: "a", second: "b"})


async def test_a_thread_has_one_active_run_and_takes_no_message_meanwhile(worker: Process) -> None:
    assistant = await worker.assistant()
    thread = await worker.thread(script({"text": "One two three.", "wait": 0.5}))
    run = await worker.run(thread["id"], assistant["id"])

    with pytest.raises(
        ConversationBusy, match=f"Thread {thread['id']} already has an active run {run['id']}."
    ):
        await worker.run(thread["id"], assistant["id"])
    with pytest.raises(BadRequest, match=f"Can't add messages to {thread['id']} while a run {run['id']} is"):
        await worker.message(thread["id"], "Too early")

    assert (await worker.settled(run))["status"] == "completed"
    await worker.message(thread["id"], "Now")


async def test_of_many_runs_started_at_once_in_a_thread_one_wins(worker: Process) -> None:
    assistant = await worker.assistant()
    thread = await worker.thread(script({"text": "One two three.", "wait": 0.5}))

    outcomes = await asyncio.gather(
        *(worker.run(thread["id"], assistant["id"]) for _ in range(10)), return_exceptions=True
    )

    started = [each for each in outcomes if isinstance(each, dict)]
    assert len(started) == 1
    assert all(isinstance(each, ConversationBusy) for each in outcomes if each is not started[0])
    await worker.settled(started[0])


async def test_cancelling_ends_the_request_to_a_stalled_provider(
    worker: Process, provider: ProviderProcess, tag: str
) -> None:
    assistant = await worker.assistant()
    thread = await worker.thread(script({"text": "One two three.", "wait": 60}, tag=tag))
    run = await worker.run(thread["id"], assistant["id"])
    await until(lambda: _requests(provider, tag))

    await _cancel(worker, run)

    assert (await worker.settled(run))["status"] == "cancelled"
    assert (await until(lambda: _ended(provider, tag)))[0]["ended"] == "disconnected"


async def _requests(provider: ProviderProcess, tag: str) -> list[JSON]:
    return await asyncio.to_thread(provider.received, tag)


async def _ended(provider: ProviderProcess, tag: str) -> list[JSON]:
    return [each for each in await _requests(provider, tag) if each["ended"]]


async def test_text_that_arrived_before_a_provider_broke_off_is_kept_however_slow_the_store_is(
    store: Store, gateway: Gateway, provider: ProviderProcess, tag: str
) -> None:
    slow = PausedStore(store, at=0)
    async with process(slow, gateway) as worker:  # type: ignore[arg-type]
        assistant = await worker.assistant()
        thread = await worker.thread(script({"text": "One two three four.", "close_after": 3}, tag=tag))
        watching = asyncio.ensure_future(collect(await worker.stream(thread["id"], assistant["id"])))
        await slow.paused.wait()
        await until(lambda: _ended(provider, tag))
        slow.resumed.set()
        events = await watching
        (message,) = await worker.messages(thread["id"], run_id=events[0][2]["id"])

    assert names(events)[-2:] == ["thread.run.failed", "done"]
    assert text_of(message) == "One two three"


async def test_a_provider_that_falls_silent_fails_the_run(
    store: Store, provider: ProviderProcess, tmp_path: Path
) -> None:
    routes = tmp_path / "models.yaml"
    routes.write_text(
        f"providers: {{p: {{base_url: '{provider.url}', api_key: any, read_timeout: 0.5, retries: 0}}}}\n"
        "models: {m: {provider: p}}\n"
    )
    gateway = Gateway(Routes.from_file(routes, {}))
    await gateway.open()
    async with process(store, gateway) as worker:
        assistant = await worker.assistant()
        for turn in ({"text": "One two three.", "wait": 60}, {"text": "One two three.", "stall_after": 2}):
            thread = await worker.thread(script(turn))
            events = await collect(await worker.stream(thread["id"], assistant["id"]))

            assert names(events)[-2:] == ["thread.run.failed", "done"]
            run = await worker.get(events[0][2])
            assert run["last_error"]["code"] == "server_error"
            await worker.message(thread["id"], "The thread takes messages again.")
    await gateway.close()


async def test_a_run_whose_model_is_no_longer_served_says_which_models_are(
    store: Store, worker: Process
) -> None:
    assistant = await worker.assistant(tools=WEATHER)
    thread = await worker.thread(script(CALL))
    run = await worker.settled(await worker.run(thread["id"], assistant["id"]))
    (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]

    routes = Routes({"known": Route("known", "chat", (Target("p", "openai", "m"),))})
    async with process(store, Gateway(routes)) as changed:
        await changed.submit(run, **{call["id"]: "sunny"})
        run = await changed.settled_from(run, "requires_action")
    assert run["status"] == "failed"
    assert run["last_error"] == {
        "code": "server_error",
        "message": "The model 'm' does not exist. This server serves known.",
    }


async def test_a_run_with_an_unreadable_log_fails_and_frees_its_thread(
    store: Store, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.jobs.RETRY_SECONDS", 0.05)
    dead = Process(store, gateway, lease=0.1)
    assistant, thread = await dead.assistant(), await dead.thread(script({"text": "One.", "delay": 30}))
    run = await dead.run(thread["id"], assistant["id"])
    await dead.jobs.stop(0)
    await store.write(Append("p", run["id"], 3, [b"no event"]))

    async with process(store, gateway) as worker:
        run = await worker.settled(run)
        assert (run["status"], run["last_error"]["code"]) == ("failed", "server_error")
        await worker.message(thread["id"], "The thread is free.")
    assert list(await store.take_jobs("run", "nobody", 1, 10)) == []


async def test_a_message_ends_before_the_calls_of_its_turn_begin(worker: Process) -> None:
    weather = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    assistant = await worker.assistant(tools=[weather])
    turn = {"text": "So I ask.", "calls": [{"name": "get_weather", "arguments": {"city": "Rome"}}]}
    thread = await worker.thread(script(turn))

    events = await collect(await worker.stream(thread["id"], assistant["id"]))

    assert names(events)[3:] == [
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.message.created",
        "thread.message.in_progress",
        "thread.message.delta",
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.run.step.delta",
        "thread.run.requires_action",
        "done",
    ]
