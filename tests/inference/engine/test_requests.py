"""What a provider is asked for a run: the thread, the overrides, the tools, and what of it fits."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inference import input_files, tokens
from persistence.store import Insert, Key, Store, child_id
from persistence.types import JSON
from tests.inference.engine.conftest import Asked
from tests.inference.engine.process import Process, collect, script

WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


async def ask(worker: Process, asked: Asked, *turns: JSON, assistant: JSON | None = None, **run: Any) -> JSON:
    """Run an assistant on a thread with one message; the first request."""
    made = await worker.assistant(**(assistant or {}))
    thread = await worker.thread(script(*(turns or ({"text": "Fine."},)), tag=asked.tag))
    await worker.settled(await worker.run(thread["id"], made["id"], **run))
    return asked.all()[0]


async def test_a_bare_run_sends_what_is_set_and_nothing_else(worker: Process, asked: Asked) -> None:
    request = await ask(worker, asked)

    assert set(request) == {"model", "messages", "stream", "stream_options"}
    assert request["stream_options"] == {"include_usage": True}
    assert [message["role"] for message in request["messages"]] == ["user"]


async def test_the_instructions_of_a_run_are_text_where_there_are_none(worker: Process) -> None:
    run = await worker.run((await worker.thread("hi"))["id"], (await worker.assistant())["id"])
    assert run["instructions"] == ""


async def test_every_override_reaches_the_model_and_is_echoed(worker: Process, asked: Asked) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
    overrides = {
        "model": "other",
        "instructions": "Sing.",
        "additional_instructions": "Softly.",
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "parallel_tool_calls": False,
        "temperature": 0.25,
        "top_p": 0.5,
        "max_completion_tokens": 300,
        "response_format": schema,
        "reasoning_effort": "low",
        "metadata": {"k": "v"},
    }
    assistant = {"instructions": "Be brief.", "temperature": 1.5}

    request = await ask(worker, asked, {"text": "Fine."}, assistant=assistant, **overrides)

    assert request["model"] == "other"
    assert request["messages"][0] == {"role": "system", "content": "Sing.\nSoftly."}
    for name in ("tool_choice", "parallel_tool_calls", "temperature", "top_p", "max_completion_tokens"):
        assert request[name] == overrides[name]
    assert request["tools"] == [WEATHER]
    assert request["response_format"] == schema
    assert request["reasoning_effort"] == "low"
    assert request["max_completion_tokens"] == 300


async def test_an_assistants_own_settings_are_sent_where_the_run_sets_none(
    worker: Process, asked: Asked
) -> None:
    request = await ask(
        worker, asked, assistant={"temperature": 0, "instructions": "Be brief.", "tools": [WEATHER]}
    )

    assert request["temperature"] == 0
    assert request["messages"][0] == {"role": "system", "content": "Be brief."}
    assert request["tools"] == [WEATHER]


async def test_outputs_go_back_as_role_tool_with_their_ids(worker: Process, asked: Asked) -> None:
    assistant = await worker.assistant(tools=[WEATHER])
    calls = [{"name": "get_weather", "arguments": {"city": city}} for city in ("Paris", "Rome")]
    thread = await worker.thread(script({"calls": calls}, {"text": "Fine."}, tag=asked.tag))
    run = await worker.settled(await worker.run(thread["id"], assistant["id"], tool_choice="required"))
    ids = [call["id"] for call in run["required_action"]["submit_tool_outputs"]["tool_calls"]]

    await worker.submit(run, **dict(zip(ids, ("sunny", "rainy"), strict=True)))
    await worker.settled_from(run, "requires_action")

    first, second = asked.all()
    assert first["tool_choice"] == "required"
    assert "tool_choice" not in second, "or the run would never end"
    said, *answers = second["messages"][1:]
    assert [call["id"] for call in said["tool_calls"]] == ids
    assert answers == [
        {"role": "tool", "tool_call_id": ids[0], "content": "sunny"},
        {"role": "tool", "tool_call_id": ids[1], "content": "rainy"},
    ]


async def test_broken_arguments_and_invented_names_go_to_the_caller_as_they_are(worker: Process) -> None:
    assistant = await worker.assistant(tools=[WEATHER])
    thread = await worker.thread(script({"calls": [{"name": "no_such_tool", "arguments": '{"broken'}]}))

    run = await worker.settled(await worker.run(thread["id"], assistant["id"]))

    (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert call["function"] == {"name": "no_such_tool", "arguments": '{"broken'}


async def test_additional_messages_come_last_and_stay_in_the_thread(worker: Process, asked: Asked) -> None:
    more = [{"role": "assistant", "content": "And then?"}, {"role": "user", "content": "Go on."}]

    request = await ask(worker, asked, {"text": "Fine."}, additional_messages=more)

    assert request["messages"][-2:] == more


async def test_the_last_messages_are_kept_where_the_run_says_how_many(worker: Process, asked: Asked) -> None:
    assistant = await worker.assistant(instructions="Be brief.")
    thread = await worker.thread("one", "two", script({"text": "Fine."}, tag=asked.tag), "four")
    strategy = {"type": "last_messages", "last_messages": 2}

    run = await worker.run(thread["id"], assistant["id"], truncation_strategy=strategy)
    await worker.settled(run)

    assert run["truncation_strategy"] == strategy
    messages = asked.all()[0]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "user"]
    assert messages[-1]["content"] == "four"


async def test_a_thread_longer_than_the_context_is_cut_by_whole_messages(
    worker: Process, asked: Asked
) -> None:
    assistant = await worker.assistant(instructions="Be brief.")
    long = [f"{number} " + "word " * 1000 for number in range(12)]
    thread = await worker.thread(*long, script({"text": "Fine."}, tag=asked.tag))

    await worker.settled(await worker.run(thread["id"], assistant["id"]))

    system, *messages = asked.all()[0]["messages"]
    assert system["content"] == "Be brief."
    assert 3 < len(messages) < 10
    assert [message["content"] for message in messages[:-1]] == long[-len(messages) + 1 :]


async def test_a_prompt_limit_cuts_by_whole_messages_too(worker: Process, asked: Asked) -> None:
    assistant = await worker.assistant()
    thread = await worker.thread("word " * 1000, "word " * 100, script({"text": "Fine."}, tag=asked.tag))

    run = await worker.run(thread["id"], assistant["id"], max_prompt_tokens=400)
    run = await worker.settled(run)

    assert run["status"] == "completed"
    assert len(asked.all()[0]["messages"]) == 2


async def test_images_reach_the_model(store: Store, worker: Process, asked: Asked) -> None:
    picture = b"\x89PNG\r\n\x1a\n picture"

    async def pieces() -> AsyncIterator[bytes]:
        yield picture

    await store.write_content("p", "content-1", pieces())
    file = {"id": "file-1", "object": "file", "filename": "cat.png", "bytes": len(picture)}
    await store.write(Insert(Key("p", "files", "file-1"), file, state={"content": "content-1"}))
    assistant, thread = await worker.assistant(), await worker.thread()
    await worker.message(
        thread["id"],
        [
            {"type": "text", "text": script({"text": "A cat."}, tag=asked.tag)},
            {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
            {"type": "image_file", "image_file": {"file_id": "file-1"}},
        ],
    )

    await worker.settled(await worker.run(thread["id"], assistant["id"]))

    _, url, file_part = asked.all()[0]["messages"][0]["content"]
    assert url["image_url"]["url"] == "https://example.com/cat.png"
    data = base64.b64encode(picture).decode()
    assert file_part["image_url"]["url"] == f"data:image/png;base64,{data}"


async def test_the_newest_images_reach_the_model_up_to_so_many_bytes(
    worker: Process, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_files, "MAX_BYTES", 100)
    assistant, thread = await worker.assistant(), await worker.thread()
    urls = [f"https://example.com/{name}.png" + "?" * 20 for name in ("old", "new", "newest")]
    for url in urls:
        await worker.message(thread["id"], [{"type": "image_url", "image_url": {"url": url}}])
    await worker.message(thread["id"], script({"text": "Cats."}, tag=asked.tag))

    await worker.settled(await worker.run(thread["id"], assistant["id"]))

    old, *newer, _ = asked.all()[0]["messages"]
    assert "left out" in old["content"]
    assert [message["content"][0]["image_url"]["url"] for message in newer] == urls[1:]


async def test_the_next_run_sees_complete_answers_only(store: Store, worker: Process, asked: Asked) -> None:
    assistant = await worker.assistant()
    thread = await worker.thread(script({"text": "One two three."}))
    await collect(await worker.stream(thread["id"], assistant["id"]))
    _, answer = await worker.messages(thread["id"])
    lost = {**answer, "id": "msg_lost", "status": "incomplete"}
    state = {"cut_off": True}
    await store.write(
        Insert(Key("p", "messages", child_id(thread["id"], "msg_lost")), lost, state, parent=thread["id"])
    )
    await worker.message(thread["id"], script({"text": "Fine."}, tag=asked.tag))

    await worker.settled(await worker.run(thread["id"], assistant["id"]))

    messages = asked.all()[0]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"] == "One two three."


async def test_tools_and_the_bound_of_the_answer_fit_the_context_beside_the_messages(
    worker: Process, asked: Asked
) -> None:
    window = worker.gateway.context_window("m")
    described = {"name": "look_up", "description": "word " * (window // 2), "parameters": {"type": "object"}}
    assistant = await worker.assistant(tools=[{"type": "function", "function": described}])
    long = ["word " * (window // 8) for _ in range(6)]
    thread = await worker.thread(*long, script({"text": "Fine."}, tag=asked.tag))

    run = await worker.run(thread["id"], assistant["id"], max_completion_tokens=window)
    run = await worker.settled(run)

    assert run["status"] == "completed", run["last_error"]
    (request,) = asked.all()
    sent = "".join(message["content"] for message in request["messages"]) + json.dumps(
        request["tools"], separators=(",", ":")
    )
    assert tokens.count(sent) + request["max_completion_tokens"] <= window
    assert request["messages"][-1]["content"] == script({"text": "Fine."}, tag=asked.tag)


async def test_a_request_that_cannot_fit_the_context_is_not_sent(worker: Process, asked: Asked) -> None:
    window = worker.gateway.context_window("m")
    assistant = await worker.assistant(instructions="word " * (window + 100))
    thread = await worker.thread(script({"text": "Fine."}, tag=asked.tag))

    run = await worker.settled(await worker.run(thread["id"], assistant["id"]))

    assert (run["status"], run["incomplete_details"]) == ("incomplete", {"reason": "max_prompt_tokens"})
    assert asked.all() == []
