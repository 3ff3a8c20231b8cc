"""MCP servers in the Assistants API: calls in steps, approvals as outputs that a run waits for."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from handlers import assistants
from handlers.errors import BadRequest
from inference.gateway import Gateway
from inference.mcp.thread_lists import KEPT_LISTS, KEPT_SECONDS, ThreadLists
from inference.mcp.tool import MCPType
from inference.responses.thread_items import call_items
from inference.sealing import Sealer
from persistence.collections import RUNS
from persistence.store import Key, Store
from persistence.types import JSON
from tests.fixtures.refusals import refused
from tests.inference.engine.process import Process, collect, names, process, script, text_of
from tests.mcp_servers import MCPProcess


@pytest.fixture
async def one(store: Store, gateway: Gateway, tools: dict[str, MCPType]) -> AsyncIterator[Process]:
    async with process(store, gateway, tools=tools, sealer=Sealer("a secret of the tests")) as made:
        yield made


def server(mcp: MCPProcess, path: str = "/mcp", **options: Any) -> JSON:
    url = mcp.url + path
    return {"type": "mcp", "server_label": "tools", "server_url": url, "require_approval": "never", **options}


ON_EACH_ENGINE = pytest.mark.parametrize("store", ["sqlite", "cassandra"], indirect=True)

ADD = {"calls": [{"name": "tools__add", "arguments": {"a": 2, "b": 3}}]}
DELETE = {"calls": [{"name": "tools__delete_all", "arguments": {"what": "logs"}}]}


async def test_a_step_shows_the_call(one: Process, mcp: MCPProcess) -> None:
    assistant = await one.assistant(tools=[server(mcp)])
    thread = await one.thread(script(ADD, {"text": "It is {tool}."}))
    run = await one.settled(await one.run(thread["id"], assistant["id"]))
    assert (run["status"], run["last_error"]) == ("completed", None)
    calls, message = await one.steps(run)
    (call,) = calls["step_details"]["tool_calls"]
    assert call == {
        "id": call["id"],
        "type": "mcp",
        "mcp": {
            "server_label": "tools",
            "name": "add",
            "arguments": '{"a": 2, "b": 3}',
            "output": "5",
            "error": None,
        },
    }
    assert message["type"] == "message_creation"
    assert text_of((await one.messages(thread["id"]))[-1]) == "It is 5."


@ON_EACH_ENGINE
async def test_a_stream_has_the_call_in_deltas(one: Process, mcp: MCPProcess) -> None:
    assistant = await one.assistant(tools=[server(mcp)])
    thread = await one.thread(script(ADD, {"text": "5"}))
    events = await collect(await one.stream(thread["id"], assistant["id"]))
    deltas = [data for _, name, data in events if name == "thread.run.step.delta"]
    parts = [each["delta"]["step_details"]["tool_calls"][0] for each in deltas]
    assert {part["index"] for part in parts} == {0}
    assert "".join(part["mcp"].get("arguments", "") for part in parts) == '{"a": 2, "b": 3}'
    assert parts[-1]["mcp"] == {"output": "5", "error": None}
    assert names(events)[-1] == "done"
    assert await one.events(events[0][2]) == events


@pytest.mark.parametrize(
    ("answer", "calls", "said"),
    [
        ("approve", ["delete_all"], "Deleted all logs."),
        ('{"approve": true}', ["delete_all"], "Deleted all logs."),
        ("deny", [], "The user did not approve this call."),
        ('{"approve": false}', [], "The user did not approve this call."),
    ],
)
async def test_a_run_waits_for_the_approval_of_a_call(
    one: Process, mcp: MCPProcess, answer: str, calls: list[str], said: str
) -> None:
    assistant = await one.assistant(tools=[server(mcp, require_approval="always")])
    thread = await one.thread(script(DELETE, {"text": "{tool}"}))
    run = await one.settled(await one.run(thread["id"], assistant["id"]))
    assert run["status"] == "requires_action"
    (asked,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert (asked["type"], asked["function"]["name"]) == ("function", "mcp_approval_request")
    assert json.loads(asked["function"]["arguments"]) == {
        "server_label": "tools",
        "name": "delete_all",
        "arguments": '{"what": "logs"}',
    }
    assert mcp.calls() == []
    await one.submit(run, **{asked["id"]: answer})
    run = await one.settled_from(run, "requires_action")
    assert (run["status"], run["last_error"]) == ("completed", None)
    assert mcp.calls() == calls
    assert text_of((await one.messages(thread["id"]))[-1]) == said
    steps = await one.steps(run)
    shown = [call for step in steps[:-1] for call in step["step_details"]["tool_calls"]]
    assert [call["type"] for call in shown] == ["function", *["mcp"] * len(calls)]
    assert shown[0]["function"]["output"] == ("approve" if calls else "deny")
    if calls:
        assert shown[1]["mcp"]["approval_request_id"] == asked["id"]


async def test_an_answer_that_is_neither_yes_nor_no_is_refused(one: Process, mcp: MCPProcess) -> None:
    assistant = await one.assistant(tools=[server(mcp, require_approval="always")])
    thread = await one.thread(script(DELETE))
    run = await one.settled(await one.run(thread["id"], assistant["id"]))
    (asked,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    error = await refused(one.submit(run, **{asked["id"]: "perhaps"}), BadRequest)
    assert asked["id"] in error.message
    assert (await one.get(run))["status"] == "requires_action"


@ON_EACH_ENGINE
async def test_what_a_server_is_sent_is_kept_sealed_while_the_run_waits(
    one: Process, store: Store, mcp: MCPProcess
) -> None:
    tool = server(mcp, "/odd/secret/mcp", require_approval="always", authorization="sesame")
    assistant = await one.assistant()
    thread = await one.thread(script({"calls": [{"name": "tools__go"}]}, {"text": "{tool}"}))
    run = await one.settled(await one.run(thread["id"], assistant["id"], tools=[tool]))
    assert run["status"] == "requires_action"
    assert "authorization" not in run["tools"][0]
    stored = await store.get(Key("p", RUNS, run["id"]))
    assert stored is not None
    assert "sesame" not in str(stored)
    (asked,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    await one.submit(run, **{asked["id"]: "approve"})
    run = await one.settled_from(run, "requires_action")
    assert text_of((await one.messages(thread["id"]))[-1]) == "went {}"


async def test_assistants_keep_no_secrets(one: Process, mcp: MCPProcess) -> None:
    tools = [{"type": "file_search"}, server(mcp, headers={"X-Key": "sesame"})]
    body = {"model": "m", "tools": tools}
    error = await refused(assistants.create_assistant(one.context(), body), BadRequest)
    assert "headers" in error.message
    assert error.param == "tools[1]"


async def test_a_thread_asks_a_server_for_its_tools_once_in_a_while(one: Process, mcp: MCPProcess) -> None:
    async def lists(thread: JSON, **options: Any) -> int:
        """Return how many lists the server was asked for by a run, which calls a tool."""
        before = [each["method"] for each in mcp.seen()].count("tools/list")
        await one.message(thread["id"], script(ADD, {"text": "It is {tool}."}))
        run = await one.run(thread["id"], assistant["id"], tools=[server(mcp, **options)])
        assert (await one.settled(run))["status"] == "completed"
        assert text_of((await one.messages(thread["id"]))[-1]) == "It is 5."
        return [each["method"] for each in mcp.seen()].count("tools/list") - before

    assistant = await one.assistant()
    thread, other = await one.thread(), await one.thread()
    assert [await lists(thread), await lists(thread)] == [1, 0]
    assert await lists(other) == 1
    assert await lists(thread, authorization="sesame") == 1
    assert await lists(thread, allowed_tools=["add"]) == 0


def test_a_list_is_kept_for_five_minutes_and_makes_room_for_newer_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lists = ThreadLists()
    keys = [("p", "thread_1", str(number), b"") for number in range(KEPT_LISTS + 1)]
    for key in keys:
        lists.keep(key, [{"name": key[2]}])
    assert lists.find(keys[0]) is None
    assert lists.find(keys[-1]) == [{"name": str(KEPT_LISTS)}]
    now = time.monotonic()
    monkeypatch.setattr("inference.mcp.thread_lists.time.monotonic", lambda: now + KEPT_SECONDS + 1)
    assert lists.find(keys[-1]) is None


async def test_a_list_that_fails_ends_the_run(one: Process, mcp: MCPProcess) -> None:
    assistant = await one.assistant(tools=[server(mcp, "/odd/broken/mcp")])
    thread = await one.thread("Hi.")
    run = await one.settled(await one.run(thread["id"], assistant["id"]))
    assert run["status"] == "failed"
    assert run["last_error"]["message"].startswith("Error retrieving tool list from MCP server: 'tools'.")


def test_a_steps_calls_are_items_of_a_conversation() -> None:
    shown = {"server_label": "a", "name": "go", "arguments": "{}", "output": "went", "error": None}
    asked = {"name": "mcp_approval_request", "arguments": "{}", "output": "approve"}
    calls = [
        {"id": "call_1", "type": "function", "function": asked},
        {"id": "call_2", "type": "mcp", "mcp": {**shown, "approval_request_id": "call_1"}},
    ]
    step = {"step_details": {"tool_calls": calls}}
    (item,) = call_items(step, "conv_" + "1" * 24)
    assert item == {
        "id": item["id"],
        "type": "mcp_call",
        "status": "completed",
        "approval_request_id": None,
        **shown,
    }
