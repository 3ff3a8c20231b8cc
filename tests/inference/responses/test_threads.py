"""A thread's conversation has what the thread has, in its order, and the reverse; each is made once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from handlers import conversation_threads, conversations, messages, threads
from handlers.errors import BadRequest, NotFound
from inference.assistants.objects import message_object
from inference.engine.state import ACTIVE_RUN
from inference.gateway import Gateway
from inference.responses.threads import BATCH_BYTES, PAGE
from persistence.collections import (
    CONVERSATION_ITEMS,
    CONVERSATIONS,
    MESSAGES,
    RESPONSES,
    RUN_STEPS,
    RUNS,
    THREADS,
)
from persistence.store import Insert, Key, Replace, Store, child_id
from persistence.types import JSON
from tests.contract.engines import ENGINES
from tests.fixtures.refusals import refused
from tests.inference.engine.process import Process, process, script

pytestmark = pytest.mark.parametrize("store", ENGINES, indirect=True)

FUNCTION = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


@pytest.fixture
async def worker(store: Store, gateway: Gateway) -> AsyncIterator[Process]:
    async with process(store, gateway) as worker:
        yield worker


async def copied(worker: Process, thread_id: str) -> JSON:
    return await conversation_threads.create_thread_conversation(worker.context(), thread_id)


async def items_of(worker: Process, id: str) -> list[JSON]:
    page = await conversations.list_conversation_items(
        worker.context(), id, 100, "asc", include=["file_search_call.results"]
    )
    return page["data"]


async def positions(store: Store, collection: str, parent: str) -> list[int]:
    page = await store.page("p", collection, parent, limit=100, order="asc")
    return [document.position for document in page.documents]


def texts(items: list[JSON]) -> list[str]:
    return [item["content"][0]["text"] if item["type"] == "message" else item["type"] for item in items]


async def test_messages_and_calls_become_items_in_their_order(worker: Process) -> None:
    assistant = await worker.assistant(tools=[FUNCTION])
    thread = await worker.thread("First.", metadata={"a": "b"})
    call = {"name": "get_weather", "arguments": {"city": "Paris"}, "id": "call_1"}
    asked = script({"text": "Let me look.", "calls": [call]}, {"text": "It is sunny."})
    await worker.message(thread["id"], asked)
    run = await worker.run(thread["id"], assistant["id"])
    await worker.settled(run)
    run = await worker.submit(run, call_1="sunny")
    await worker.settled_from(run, "requires_action")
    await worker.message(thread["id"], "Thanks.")

    conversation = await copied(worker, thread["id"])

    items = await items_of(worker, conversation["id"])
    assert conversation["metadata"] == {"a": "b"}
    assert conversation["created_at"] == thread["created_at"]
    assert texts(items) == [
        "First.",
        asked,
        "Let me look.",
        "function_call",
        "function_call_output",
        "It is sunny.",
        "Thanks.",
    ]
    assert (items[3]["call_id"], items[3]["name"], items[4]["output"]) == ("call_1", "get_weather", "sunny")
    said = await worker.messages(thread["id"])
    assert [item["id"] for item in items if item["type"] == "message"] == [each["id"] for each in said]
    assert [item["role"] for item in items if item["type"] == "message"] == [each["role"] for each in said]
    in_thread = await positions(worker.store, MESSAGES, thread["id"])
    kept = await positions(worker.store, CONVERSATION_ITEMS, conversation["id"])
    assert set(in_thread) <= set(kept)


async def test_a_conversation_is_made_once_also_by_many_requests(worker: Process) -> None:
    thread = await worker.thread(*"abc")

    made = await asyncio.gather(*(copied(worker, thread["id"]) for _ in range(5)))

    assert all(one == made[0] for one in made)
    await worker.message(thread["id"], "later")
    assert await copied(worker, thread["id"]) == made[0]
    assert texts(await items_of(worker, made[0]["id"])) == ["a", "b", "c"]
    await conversations.delete_conversation(worker.context(), made[0]["id"])
    again = await copied(worker, thread["id"])
    assert texts(await items_of(worker, again["id"])) == ["a", "b", "c", "later"]


async def test_a_copy_that_was_cut_short_is_not_seen_and_is_deleted(
    worker: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = await worker.thread(*"abc")
    document = await worker.store.get(Key("p", THREADS, thread["id"]))
    assert document is not None
    made: list[str] = []
    write = worker.store.write

    async def fail(*operations: Any) -> None:
        await write(*operations)
        made.extend(each.parent for each in operations[:1] if isinstance(each, Insert))
        if made:
            raise RuntimeError("cut short")

    monkeypatch.setattr("inference.responses.threads.UNFINISHED", 0)
    monkeypatch.setattr(worker.store, "write", fail)
    with pytest.raises(RuntimeError, match="cut short"):
        await copied(worker, thread["id"])
    monkeypatch.undo()
    (left,) = made
    assert await worker.store.get(Key("p", CONVERSATIONS, left)) is None
    await until_empty(worker.store, left)
    assert texts(await items_of(worker, (await copied(worker, thread["id"]))["id"])) == ["a", "b", "c"]


async def until_empty(store: Store, conversation: str) -> None:
    async with asyncio.timeout(20):
        while (await store.page("p", CONVERSATION_ITEMS, conversation, limit=1)).documents:
            await asyncio.sleep(0.02)


async def test_calls_without_an_output_and_interrupted_answers_are_left_out(worker: Process) -> None:
    assistant = await worker.assistant(tools=[FUNCTION])
    thread = await worker.thread(
        script({"calls": [{"name": "get_weather", "arguments": {}, "id": "call_1"}]})
    )
    run = await worker.settled(await worker.run(thread["id"], assistant["id"]))
    await refused(copied(worker, thread["id"]), BadRequest)
    document = await worker.store.get(Key("p", RUNS, run["id"]))
    assert document is not None
    await worker.store.write(Replace(document, value={**document.value, "status": "expired"}))
    cut = message_object("msg_cut", thread["id"], "assistant", [{"type": "refusal", "refusal": "x"}], now=1)
    key = Key("p", MESSAGES, child_id(thread["id"], "msg_cut"))
    await worker.store.write(Insert(key, cut, {"cut_off": True}, thread["id"]))

    conversation = await copied(worker, thread["id"])

    assert [item["role"] for item in await items_of(worker, conversation["id"])] == ["user"]


async def test_searches_citations_and_images_are_carried(worker: Process) -> None:
    thread = await worker.thread()
    citation = {
        "type": "file_citation", "text": "【0:0†a.txt】", "start_index": 2, "end_index": 13,
        "file_citation": {"file_id": "file-1"},
    }  # fmt: skip
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
    await worker.store.write(
        Insert(Key("p", "files", "file-1"), {"id": "file-1", "filename": "a.txt"}),
        *_message(thread["id"], "msg_1", "user", [image], 10),
        *_message(
            thread["id"],
            "msg_2",
            "assistant",
            [{"type": "text", "text": {"value": "So【0:0†a.txt】", "annotations": [citation]}}],
            20,
            run_id="run_1",
        ),
        Insert(Key("p", RUNS, "run_1"), {"id": "run_1"}, parent=thread["id"], position=11),
        *_step("run_1", "step_1", _search_step(), 12),
        *_step("run_1", "step_2", _creation_step("msg_2"), 13),
    )

    conversation = await copied(worker, thread["id"])

    said, search, answer = await items_of(worker, conversation["id"])
    assert said["content"][0]["type"] == "input_image"
    assert (search["type"], search["results"][0]["filename"]) == ("file_search_call", "a.txt")
    assert search["results"][0]["text"] == "A text."
    assert answer["content"][0]["annotations"] == [
        {"type": "file_citation", "file_id": "file-1", "filename": "a.txt", "index": 2}
    ]
    back = await conversation_threads.create_conversation_thread(worker.context(), conversation["id"])
    first, second = await worker.messages(back["id"])
    assert first["content"] == [image]
    assert second["content"][0]["text"]["annotations"] == [citation]


async def test_images_that_runs_made_are_carried_without_their_bytes(worker: Process) -> None:
    thread = await worker.thread()
    made = {"file_id": "file-1", "revised_prompt": "a cat", "action": "generate", "output_format": "png"}
    calls = [
        {"id": "call_1", "type": "image_generation", "image_generation": made},
        {"id": "call_2", "type": "of_the_future", "of_the_future": {}},
    ]
    await worker.store.write(
        *_message(
            thread["id"],
            "msg_7",
            "user",
            [{"type": "text", "text": {"value": "Draw.", "annotations": []}}],
            10,
        ),
        Insert(Key("p", RUNS, "run_7"), {"id": "run_7"}, parent=thread["id"], position=11),
        *_step("run_7", "step_7", {"type": "tool_calls", "tool_calls": calls}, 12),
    )
    conversation = await copied(worker, thread["id"])
    _, image = await items_of(worker, conversation["id"])
    assert (image["type"], image["result"], image["revised_prompt"]) == (
        "image_generation_call",
        None,
        "a cat",
    )
    assert "file_id" not in image


def _message(
    thread: str, id: str, role: str, content: list[JSON], at: int, run_id: str | None = None
) -> list[Insert]:
    value = message_object(id, thread, role, content, now=1, run_id=run_id)
    return [Insert(Key("p", MESSAGES, child_id(thread, id)), value, parent=thread, position=at)]


def _step(run: str, id: str, details: JSON, at: int) -> list[Insert]:
    value = {"id": id, "run_id": run, "type": details["type"], "step_details": details}
    return [Insert(Key("p", RUN_STEPS, child_id(run, id)), value, parent=run, position=at)]


def _search_step() -> JSON:
    content = [{"type": "text", "text": "A text."}]
    results = [{"file_id": "file-1", "file_name": "a.txt", "score": 0.5, "content": content}]
    call = {"id": "call_s", "type": "file_search", "file_search": {"results": results}}
    return {"type": "tool_calls", "tool_calls": [call]}


def _creation_step(message: str) -> JSON:
    return {"type": "message_creation", "message_creation": {"message_id": message}}


async def test_a_conversations_messages_become_a_thread_once(worker: Process) -> None:
    context = worker.context()
    items = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "x"},
        {"role": "assistant", "content": "Hello"},
    ]
    made = await conversations.create_conversation(context, {"items": items, "metadata": {"a": "b"}})

    thread = await conversation_threads.create_conversation_thread(context, made["id"])

    assert await conversation_threads.create_conversation_thread(context, made["id"]) == thread
    assert await threads.get_thread(context, thread["id"]) == thread
    assert (thread["metadata"], thread["created_at"]) == ({"a": "b"}, made["created_at"])
    said = await worker.messages(thread["id"])
    assert [(each["role"], each["content"][0]["text"]["value"]) for each in said] == [
        ("user", "Be brief."),
        ("user", "Hi"),
        ("assistant", "Hello"),
    ]
    assert await messages.get_message(context, thread["id"], said[1]["id"]) == said[1]
    assistant = await worker.assistant()
    run = await worker.settled(await worker.run(thread["id"], assistant["id"]))
    assert run["status"] == "completed"


async def test_what_is_worked_on_or_another_projects_is_not_copied(worker: Process) -> None:
    thread = await worker.thread("a")
    made = await conversations.create_conversation(worker.context(), {})
    other = worker.context("q")

    await refused(conversation_threads.create_thread_conversation(other, thread["id"]), NotFound)
    await refused(conversation_threads.create_conversation_thread(other, made["id"]), NotFound)
    document = await worker.store.get(Key("p", CONVERSATIONS, made["id"]))
    assert document is not None
    response = {"id": "resp_1", "status": "in_progress", "output": []}
    await worker.store.write(
        Replace(document, state={ACTIVE_RUN: "resp_1"}), Insert(Key("p", RESPONSES, "resp_1"), response)
    )
    call = conversation_threads.create_conversation_thread(worker.context(), made["id"])
    assert (await refused(call, BadRequest)).code == "conversation_locked"


def recorded(worker: Process, monkeypatch: pytest.MonkeyPatch) -> list[list[Insert]]:
    """What each write inserts from now on."""
    written: list[list[Insert]] = []
    write = worker.store.write

    async def record(*operations: Any) -> Any:
        written.append([each for each in operations if isinstance(each, Insert)])
        return await write(*operations)

    monkeypatch.setattr(worker.store, "write", record)
    return written


async def test_a_long_thread_is_copied_in_slices_between_which_others_go_on(
    worker: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = await worker.thread()
    part = [{"type": "text", "text": {"value": "x" * 200, "annotations": []}}]
    for start in range(0, 1000, PAGE):
        await worker.store.write(
            *(
                Insert(
                    Key("p", MESSAGES, child_id(thread["id"], f"msg_{number}")),
                    message_object(f"msg_{number}", thread["id"], "user", part, now=1),
                    parent=thread["id"],
                    position=number + 1,
                )
                for number in range(start, start + PAGE)
            )
        )
    written = recorded(worker, monkeypatch)

    conversation = await copied(worker, thread["id"])

    copies = [len(inserts) for inserts in written if len(inserts) > 1]
    assert copies == [PAGE] * (1000 // PAGE)
    page = await worker.store.page("p", CONVERSATION_ITEMS, conversation["id"], limit=1)
    assert page.documents[0].value["id"] == "msg_999"


async def test_large_messages_are_copied_in_batches_of_bounded_size(
    worker: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "x" * 250_000
    thread = await worker.thread(*([text] * 32))
    written = recorded(worker, monkeypatch)

    conversation = await copied(worker, thread["id"])

    assert max(sum(len(orjson.dumps(each.value)) for each in inserts) for inserts in written) <= BATCH_BYTES
    assert texts(await items_of(worker, conversation["id"])) == [text] * 32
    back = await conversation_threads.create_conversation_thread(worker.context(), conversation["id"])
    assert len(await worker.messages(back["id"])) == 32
