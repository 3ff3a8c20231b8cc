"""Tools that the server runs in a run: their steps, their events, their citations."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from handlers import run_steps
from inference.engine import Tool, ToolContext, ToolResult, ToolType
from inference.engine.calls import calls_left, run_calls
from inference.engine.errors import ToolUnavailable
from inference.engine.events import ItemFinished
from inference.engine.items import Call, Turn
from inference.engine.requests import RequestBuilder
from inference.engine.state import RunState, Settings
from inference.engine.tools import Citation, Emit, Toolbox
from inference.gateway import Gateway
from persistence.store import Store
from persistence.types import JSON
from tests.inference.engine.process import Process, collect, names, process, script, text_of

WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
SEARCH = {"type": "file_search"}
MARK = "【0:0†sky.txt】"
INCLUDE = "step_details.tool_calls[*].file_search.results[*].content"
SEARCHING = {"calls": [{"name": "file_search", "arguments": {"queries": ["sky"]}}]}


class Library(Tool):
    """A file_search over one sentence, as far as the engine knows of such a tool."""

    item_type = "file_search_call"

    def definitions(self) -> list[JSON]:
        return [{"type": "function", "function": {"name": "file_search", "parameters": {"type": "object"}}}]

    async def run(self, call: Call, emit: Emit) -> ToolResult:
        emit("searching", {})
        await asyncio.sleep(0)
        results = [
            {
                "file_id": "file-1",
                "file_name": "sky.txt",
                "score": 0.9,
                "content": [{"type": "text", "text": "The sky is blue."}],
            }
        ]
        ranking = {"ranker": "default_2024_08_21", "score_threshold": 0.0}
        return ToolResult(f"{MARK} The sky is blue.", {"ranking_options": ranking, "results": results})

    def cite(self, mark: str, start: int, before: str) -> Citation | None:
        if mark != MARK:
            return None
        annotation = {
            "type": "file_citation",
            "text": MARK,
            "start_index": start,
            "end_index": start + len(MARK),
            "file_citation": {"file_id": "file-1"},
        }
        return Citation(annotation)


@pytest.fixture
def contexts() -> list[ToolContext]:
    """What the tools of the test's runs were given."""
    return []


@pytest.fixture
async def worker(store: Store, gateway: Gateway, contexts: list[ToolContext]) -> AsyncIterator[Process]:
    class LibraryType(ToolType):
        async def make(self, context: ToolContext) -> Tool:
            contexts.append(context)
            return Library()

    async with process(store, gateway, tools={"file_search": LibraryType()}) as worker:
        yield worker


async def test_a_search_is_a_step_of_its_own_and_its_events_are_openais(worker: Process) -> None:
    assistant = await worker.assistant(tools=[SEARCH])
    thread = await worker.thread(script(SEARCHING, {"text": "Blue."}))

    events = await collect(await worker.stream(thread["id"], assistant["id"]))

    assert names(events) == [
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.run.step.delta",
        "thread.run.step.completed",
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
    run = await worker.get(events[0][2])
    steps = await worker.steps(run)
    assert [step["type"] for step in steps] == ["tool_calls", "message_creation"]
    assert run["usage"]["total_tokens"] == sum(step["usage"]["total_tokens"] for step in steps)
    (call,) = steps[0]["step_details"]["tool_calls"]
    assert call["type"] == "file_search"
    (result,) = call["file_search"]["results"]
    assert "content" not in result


async def test_the_content_of_search_results_is_shown_only_if_asked_for(worker: Process) -> None:
    assistant = await worker.assistant(tools=[SEARCH])
    thread = await worker.thread(script(SEARCHING, {"text": "Blue."}))
    run = await worker.settled(await worker.run(thread["id"], assistant["id"]))

    async def content(include: list[str] | None) -> Any:
        page = await run_steps.list_run_steps(
            worker.context(), thread["id"], run["id"], limit=20, order="asc", include=include
        )
        (result,) = page["data"][0]["step_details"]["tool_calls"][0]["file_search"]["results"]
        return result.get("content")

    assert await content([INCLUDE]) == [{"type": "text", "text": "The sky is blue."}]
    assert await content(None) is None
    assert "The sky is blue." not in str(await worker.events(run))


def _annotations(events: Sequence[Any]) -> list[tuple[str, JSON]]:
    deltas = (
        data["delta"]["content"][0]["text"] for _, name, data in events if name == "thread.message.delta"
    )
    return [(text["value"], each) for text in deltas for each in text.get("annotations", ())]


@pytest.mark.parametrize("chunks", [1, 3, 7, 40])
async def test_a_citation_comes_with_its_mark_however_the_text_is_cut(worker: Process, chunks: int) -> None:
    text = f"It is blue{MARK}, so they say{MARK}. 【not a mark, but a long bracket"
    assistant = await worker.assistant(tools=[SEARCH])
    thread = await worker.thread(script(SEARCHING, {"text": text, "chunks": chunks, "delay": 0.005}))

    events = await collect(await worker.stream(thread["id"], assistant["id"]))

    (_, answer) = await worker.messages(thread["id"])
    assert text_of(answer) == text
    annotations = answer["content"][0]["text"]["annotations"]
    assert [text[each["start_index"] : each["end_index"]] for each in annotations] == [MARK, MARK]
    told = _annotations(events)
    assert [each["index"] for _, each in told] == [0, 1]
    assert [{k: v for k, v in each.items() if k != "index"} for _, each in told] == annotations
    assert all(MARK in value for value, _ in told)


async def test_a_search_and_a_function_in_one_turn_wait_for_the_function_alone(worker: Process) -> None:
    assistant = await worker.assistant(tools=[SEARCH, WEATHER])
    both = {"calls": [*SEARCHING["calls"], {"name": "get_weather", "arguments": {}}]}
    thread = await worker.thread(script(both, {"text": "It is {tool}."}))

    run = await worker.settled(await worker.run(thread["id"], assistant["id"]))
    (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    await worker.submit(run, **{call["id"]: "sunny"})
    run = await worker.settled_from(run, "requires_action")

    assert run["status"] == "completed"
    calls = (await worker.steps(run))[0]["step_details"]["tool_calls"]
    assert [each["type"] for each in calls] == ["file_search", "function"]
    assert calls[1]["function"]["output"] == "sunny"


async def test_a_tool_knows_the_resources_and_the_earlier_results_of_its_run(
    worker: Process, contexts: list[ToolContext]
) -> None:
    assistant = await worker.assistant(tools=[SEARCH, WEATHER])
    call = {"calls": [{"name": "get_weather", "arguments": {}}]}
    thread = await worker.thread(script(SEARCHING, call, {"text": "Fine."}))

    run = await worker.settled(await worker.run(thread["id"], assistant["id"]))
    (waiting,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    await worker.submit(run, **{waiting["id"]: "sunny"})
    await worker.settled_from(run, "requires_action")

    first, second = contexts
    assert (first.project, first.run, first.tool["type"]) == ("p", run["id"], "file_search")
    assert first.resources == ({}, {})
    assert first.results == ()
    (results,) = second.results
    assert results["results"][0]["file_name"] == "sky.txt"


async def test_a_run_with_a_tool_that_the_server_does_not_run_is_refused(worker: Process) -> None:
    assistant = await worker.assistant(tools=[{"type": "code_interpreter"}])
    thread = await worker.thread("Hello")

    with pytest.raises(ToolUnavailable, match="'code_interpreter' is not available on this server"):
        await worker.run(thread["id"], assistant["id"])

    await worker.message(thread["id"], "The thread is free.")
    assert (await worker.run(thread["id"], assistant["id"], tools=[]))["tools"] == []


@pytest.mark.parametrize(("most", "are_offered"), [(None, True), (3, True), (2, False)])
async def test_tools_are_offered_until_the_run_has_called_them_as_often_as_it_may(
    most: int | None, are_offered: bool
) -> None:
    settings = Settings("m", "", expires_at=0, tools=[WEATHER], max_tool_calls=most)
    calls = [Call(f"fc_{n}", Library.item_type, f"call_{n}", "file_search", output="") for n in range(2)]
    weather = Call("fc_2", "function_call", "call_2", "get_weather", output="Rain.")
    state = RunState(turns=[Turn("turn_1", [*calls, weather], finish="tool_calls")])
    builder = RequestBuilder(settings, state, [], Toolbox([("file_search", Library())]), 10_000, len)
    offered = [tool["function"]["name"] for tool in (await builder.build())["tools"]]
    assert offered == ["get_weather", *(["file_search"] if are_offered else [])]


async def test_a_tool_that_may_not_be_called_any_more_is_still_known() -> None:
    settings = Settings("m", "", expires_at=0, max_tool_calls=1)
    call = Call("fc_1", Library.item_type, "call_1", "file_search", output="")
    state = RunState(turns=[Turn("turn_1", [call], finish="tool_calls")])
    builder = RequestBuilder(settings, state, [], Toolbox([("file_search", Library())]), 10_000, len)
    request = await builder.build()
    assert [tool["function"]["name"] for tool in request["tools"]] == ["file_search"]
    assert request["tool_choice"] == "none"


async def test_calls_beyond_max_tool_calls_are_not_made() -> None:
    calls = [Call(f"fc_{n}", Library.item_type, f"call_{n}", "file_search") for n in range(3)]
    first = Call("fc_x", Library.item_type, "call_x", "file_search", output="")
    state = RunState(turns=[Turn("turn_1", [first], finish="tool_calls"), Turn("turn_2", list(calls))])
    left = calls_left(state, 2)
    events = [event async for event in run_calls(calls, Toolbox([("file_search", Library())]), left)]
    finished = [event for event in events if isinstance(event, ItemFinished)]
    assert left == 1
    assert [(event.id, event.status) for event in finished] == [
        ("fc_0", "completed"),
        ("fc_1", "failed"),
        ("fc_2", "failed"),
    ]
    assert "max_tool_calls" in (finished[1].output or "")
