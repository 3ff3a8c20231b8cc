"""What a run does, from its creation to its end, through the handlers."""

import pytest

from tests.contract.engines import ENGINES
from tests.inference.engine.process import (
    Process,
    collect,
    names,
    script,
    text_of,
)

pytestmark = pytest.mark.parametrize("store", ENGINES, indirect=True)

PLAIN = [
    "thread.run.created",
    "thread.run.queued",
    "thread.run.in_progress",
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
    "thread.message.delta",
    "thread.message.completed",
    "thread.run.step.completed",
    "thread.run.completed",
    "done",
]


async def test_a_streamed_run_tells_its_events_in_openais_order(worker: Process) -> None:
    assistant, thread = await worker.assistant(), await worker.thread(script({"text": "One two three."}))

    events = await collect(await worker.stream(thread["id"], assistant["id"]))

    assert names(events) == PLAIN
    assert [number for number, _, _ in events] == list(range(len(events)))
    assert events[-1][2] == "[DONE]"
    said = "".join(
        data["delta"]["content"][0]["text"]["value"]
        for _, name, data in events
        if name == "thread.message.delta"
    )
    assert said == "One two three."


async def test_a_get_returns_what_was_streamed(worker: Process) -> None:
    assistant, thread = await worker.assistant(), await worker.thread(script({"text": "One two three."}))

    events = await collect(await worker.stream(thread["id"], assistant["id"]))

    last = {name: data for _, name, data in events}
    run = last["thread.run.completed"]
    assert await worker.get(run) == run
    assert await worker.steps(run) == [last["thread.run.step.completed"]]
    assert (await worker.messages(thread["id"], run_id=run["id"])) == [last["thread.message.completed"]]
    assert run["usage"]["total_tokens"] > 0


async def test_a_background_run_ends_with_the_same_objects_and_events(worker: Process) -> None:
    assistant, thread = await worker.assistant(), await worker.thread(script({"text": "One two three."}))

    run = await worker.run(thread["id"], assistant["id"])
    assert run["status"] == "queued"
    run = await worker.settled(run)

    assert run["status"] == "completed"
    (answer,) = await worker.messages(thread["id"], run_id=run["id"])
    assert text_of(answer) == "One two three."
    assert names(await worker.events(run)) == PLAIN


async def test_a_function_call_goes_to_the_caller_and_its_output_back(worker: Process) -> None:
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    assistant = await worker.assistant(tools=tools)
    thread = await worker.thread(
        script(
            {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]},
            {"text": "It is {tool} there."},
        )
    )

    first = await collect(await worker.stream(thread["id"], assistant["id"]))
    assert names(first) == [
        *PLAIN[:5],
        "thread.run.step.delta",
        "thread.run.requires_action",
        "done",
    ]
    run = await worker.get(first[0][2])
    assert run == first[-2][2]
    (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert call["function"] == {"name": "get_weather", "arguments": '{"city": "Paris"}'}

    second = await collect(await worker.submit_stream(run, **{call["id"]: "sunny"}))
    assert names(second) == [
        "thread.run.step.completed",
        "thread.run.queued",
        "thread.run.in_progress",
        *PLAIN[3:],
    ]
    (answer,) = await worker.messages(thread["id"], run_id=run["id"])
    assert text_of(answer) == "It is sunny there."
    done = await worker.get(run)
    steps = await worker.steps(run)
    assert [step["type"] for step in steps] == ["tool_calls", "message_creation"]
    assert steps[0]["step_details"]["tool_calls"][0]["function"]["output"] == "sunny"
    assert done["usage"]["total_tokens"] == sum(step["usage"]["total_tokens"] for step in steps)
    assert names(await worker.events(run)) == names([*first[:-1], *second])
