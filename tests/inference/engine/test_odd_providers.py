"""Providers that answer as no specification has it: a run ends at once, asks once, and frees its thread."""

import json
import time
from typing import Any

import pytest

from persistence.types import JSON
from tests.inference.engine.conftest import Asked
from tests.inference.engine.process import Process, script, text_of

WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


def raw(*deltas: Any, finish: str = "stop", **fields: Any) -> JSON:
    """A turn whose stream has these deltas."""
    choices = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
    choices.append([{"index": 0, "delta": {}, "finish_reason": finish}])
    chunks = [{"id": "c", "object": "chat.completion.chunk", "choices": each, **fields} for each in choices]
    lines = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    return {"raw": f"{lines}data: [DONE]\n\n", "content_type": "text/event-stream"}


def call(**fields: Any) -> JSON:
    return {"tool_calls": [fields]}


POISON = {
    "content is a number": raw({"content": 5}),
    "content is an object": raw({"content": {"a": 1}}),
    "calls are null": raw({"tool_calls": [None]}),
    "a call is a string": raw({"tool_calls": ["look"]}),
    "usage is a string": raw({"content": "Hello"}, usage="many"),
    "usage holds lists": raw({"content": "Hello"}, usage={"prompt_tokens": [1], "completion_tokens": {}}),
    "a call has an integer id": raw(
        call(index=0, id=7, function={"name": "get_weather", "arguments": "{}"}), finish="tool_calls"
    ),
    "arguments are an object": raw(
        call(index=0, id="c1", function={"name": "get_weather", "arguments": {"city": "Rome"}}),
        finish="tool_calls",
    ),
    "the delta is a list": raw([1, 2]),
    "the choices are an object": {
        "raw": 'data: {"choices": {"delta": {}}}\n\ndata: [DONE]\n\n',
        "content_type": "text/event-stream",
    },
    "a line is no JSON": {"raw": "data: {not json\n\n", "content_type": "text/event-stream"},
}


@pytest.mark.parametrize("name", POISON)
async def test_an_unreadable_answer_never_makes_a_run_ask_again(
    worker: Process,
    asked: Asked,
    name: str,
) -> None:
    assistant = await worker.assistant(tools=[WEATHER])
    thread = await worker.thread(script(POISON[name], tag=asked.tag))
    started = time.monotonic()

    run = await worker.settled(await worker.run(thread["id"], assistant["id"]))

    assert time.monotonic() - started < 5
    assert run["status"] in {"completed", "failed", "requires_action"}
    if run["status"] == "failed":
        assert run["last_error"]["code"] == "server_error"
    assert len(asked.all()) == 1
    if run["status"] != "requires_action":
        await worker.message(thread["id"], "The thread is free.")


async def test_content_as_a_list_of_parts_is_its_text(worker: Process, asked: Asked) -> None:
    parts = raw({"content": [{"type": "text", "text": "Hel"}]}, {"content": [{"type": "text", "text": "lo"}]})
    assistant, thread = await worker.assistant(), await worker.thread(script(parts, tag=asked.tag))

    run = await worker.settled(await worker.run(thread["id"], assistant["id"]))

    assert run["status"] == "completed"
    (_, answer) = await worker.messages(thread["id"])
    assert (text_of(answer), len(asked.all())) == ("Hello", 1)


@pytest.mark.parametrize(
    ("finish", "status"), [("max_tokens", "incomplete"), ("error", "failed"), ("sensitive", "incomplete")]
)
async def test_an_unusual_finish_reason_ends_the_run_in_the_matching_status(
    worker: Process, finish: str, status: str
) -> None:
    thread = await worker.thread(script(raw({"content": "Hel"}, finish=finish)))

    run = await worker.settled(await worker.run(thread["id"], (await worker.assistant())["id"]))

    assert run["status"] == status


async def test_calls_that_share_an_index_are_told_apart_by_their_ids(worker: Process) -> None:
    turn = raw(
        call(index=0, id="c1", function={"name": "get_weather", "arguments": '{"a":1}'}),
        call(index=0, id="c2", function={"name": "get_weather", "arguments": '{"a":2}'}),
        call(index=0, id="c3", function={"name": "get_weather"}),
        finish="tool_calls",
    )
    assistant = await worker.assistant(tools=[WEATHER])
    thread = await worker.thread(script(turn, {"text": "Fine."}))

    run = await worker.settled(await worker.run(thread["id"], assistant["id"]))

    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert [(each["id"], each["function"]["arguments"]) for each in calls] == [
        ("c1", '{"a":1}'),
        ("c2", '{"a":2}'),
        ("c3", "{}"),
    ]
