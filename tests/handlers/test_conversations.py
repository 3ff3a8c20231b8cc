"""Conversations: what is stored, what is refused, whose it is, and what a running response locks."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from handlers import conversations
from handlers.errors import BadRequest, NotFound
from inference.deletion import SLICE
from inference.engine.state import ACTIVE_RUN
from inference.responses.conversations import item_inserts
from persistence.collections import CONVERSATION_ITEMS, CONVERSATIONS, RESPONSES
from persistence.store import Delete, Insert, Key, Replace, Store
from persistence.types import JSON
from tests.fixtures.pages import PAGE
from tests.fixtures.refusals import refused
from tests.fixtures.stores import store
from tests.inference.engine.process import Process, gateway_to, process

__all__ = ["store"]

HELLO = {"role": "user", "content": "Hello"}


@pytest.fixture
async def worker(store: Store) -> AsyncIterator[Process]:
    async with process(store, gateway_to("http://127.0.0.1:9/v1")) as worker:
        yield worker


async def created(worker: Process, *items: JSON, **fields: Any) -> JSON:
    return await conversations.create_conversation(worker.context(), {"items": list(items), **fields})


async def add(worker: Process, id: str, *items: JSON) -> JSON:
    return await conversations.create_conversation_items(worker.context(), id, {"items": list(items)})


async def listed(worker: Process, id: str, **query: Any) -> list[JSON]:
    """Oldest first."""
    query = {"limit": 100, "order": "asc", **query}
    return (await conversations.list_conversation_items(worker.context(), id, **query))["data"]


async def lock(worker: Process, id: str, status: str = "in_progress") -> None:
    """Have a response hold the conversation."""
    document = await worker.store.get(Key("p", CONVERSATIONS, id))
    assert document is not None
    said = {"type": "message", "id": "msg_said", "role": "user", "status": "completed", "content": []}
    response = {"id": "resp_1", "status": status, "output": []}
    await worker.store.write(
        Replace(document, state={ACTIVE_RUN: "resp_1"}),
        Insert(Key("p", RESPONSES, "resp_1"), response, {"extra": {"input": [said]}}),
    )


# --- conversations ---


@pytest.mark.parametrize("body", [None, {}, {"items": []}, {"items": None, "metadata": None}])
async def test_a_conversation_needs_no_body(worker: Process, body: JSON | None) -> None:
    made = await conversations.create_conversation(worker.context(), body)

    assert made == {
        "id": made["id"],
        "object": "conversation",
        "created_at": made["created_at"],
        "metadata": {},
    }
    assert made["id"].startswith("conv_")
    assert await conversations.get_conversation(worker.context(), made["id"]) == made
    assert await listed(worker, made["id"]) == []


async def test_a_conversation_keeps_its_first_items_in_order(worker: Process) -> None:
    call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
    made = await created(worker, HELLO, {"role": "assistant", "content": "Hi"}, call, metadata={"a": "b"})

    items = await listed(worker, made["id"])

    assert made["metadata"] == {"a": "b"}
    assert [item["id"].partition("_")[0] for item in items] == ["msg", "msg", "fc"]
    assert all(item["id"].partition("_")[2].startswith(made["id"][-24:]) for item in items)
    assert items[0]["content"] == [{"type": "input_text", "text": "Hello"}]
    assert items[1]["content"][0]["type"] == "output_text"
    assert items[2] == {**call, "id": items[2]["id"], "status": "completed"}


async def test_an_update_changes_the_metadata_only(worker: Process) -> None:
    made = await created(worker, HELLO)

    changed = await conversations.update_conversation(
        worker.context(), made["id"], {"metadata": {"topic": "x"}}
    )

    assert changed == {**made, "metadata": {"topic": "x"}}
    assert await conversations.get_conversation(worker.context(), made["id"]) == changed


async def test_a_deleted_conversation_is_gone_with_its_items(worker: Process) -> None:
    made = await created(worker)
    said = [{"type": "message", "id": f"msg_{n}", "role": "user", "content": []} for n in range(SLICE + 10)]
    await worker.store.write(*item_inserts("p", made["id"], said))

    answer = await conversations.delete_conversation(worker.context(), made["id"])

    assert answer == {"id": made["id"], "object": "conversation.deleted", "deleted": True}
    await refused(conversations.get_conversation(worker.context(), made["id"]), NotFound)
    assert (await worker.store.page("p", CONVERSATION_ITEMS, made["id"])).documents == []


@pytest.mark.parametrize("id", ["conv_x", "thread_x", "../conv", "conv'--", "", "a" * 1000])
async def test_an_unknown_id_is_404(worker: Process, id: str) -> None:
    context = worker.context()
    for call in (
        conversations.get_conversation(context, id),
        conversations.update_conversation(context, id, {"metadata": {}}),
        conversations.delete_conversation(context, id),
        conversations.create_conversation_items(context, id, {"items": [HELLO]}),
        conversations.list_conversation_items(context, id, 20),
        conversations.get_conversation_item(context, id, "msg_x"),
        conversations.delete_conversation_item(context, id, "msg_x"),
    ):
        error = await refused(call, NotFound)
        assert error.message == f"Conversation with id '{id}' not found."


async def test_another_projects_conversations_are_404(worker: Process) -> None:
    made = await created(worker, HELLO)
    (item,) = await listed(worker, made["id"])
    id, other = made["id"], worker.context("q")

    for call in (
        conversations.get_conversation(other, id),
        conversations.update_conversation(other, id, {"metadata": {}}),
        conversations.delete_conversation(other, id),
        conversations.create_conversation_items(other, id, {"items": [HELLO]}),
        conversations.list_conversation_items(other, id, 20),
        conversations.get_conversation_item(other, id, item["id"]),
        conversations.delete_conversation_item(other, id, item["id"]),
    ):
        await refused(call, NotFound)
    assert await listed(worker, id) == [item]
    assert (await conversations.list_conversations(other, **PAGE))["data"] == []
    assert (await conversations.list_conversations(worker.context(), **PAGE))["data"] == [made]


async def test_another_projects_file_in_an_item_is_404(worker: Process) -> None:
    file = {"id": "file-1", "object": "file", "filename": "a.txt", "bytes": 1}
    await worker.store.write(Insert(Key("q", "files", "file-1"), file, state={"content": "file-1"}))
    said = {"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}

    error = await refused(created(worker, HELLO, said), NotFound)
    assert error.param == "items[1].content[0].file_id"
    await conversations.create_conversation(worker.context("q"), {"items": [said]})


# --- items ---


async def test_added_items_are_answered_as_they_are_listed(worker: Process) -> None:
    made = await created(worker, HELLO)

    answer = await add(worker, made["id"], {"role": "user", "content": "a"}, {"role": "user", "content": "b"})

    items = await listed(worker, made["id"])
    assert answer["data"] == items[1:]
    assert (answer["first_id"], answer["last_id"]) == (items[1]["id"], items[2]["id"])
    assert answer["has_more"] is False


async def test_an_item_keeps_the_id_that_its_caller_gave_it(worker: Process) -> None:
    said = {**HELLO, "type": "message", "id": "msg_5f2b-44c1", "status": "completed"}
    made = await created(worker, said)

    item = await conversations.get_conversation_item(worker.context(), made["id"], "msg_5f2b-44c1")

    assert item["content"] == [{"type": "input_text", "text": "Hello"}]
    error = await refused(add(worker, made["id"], HELLO, said), BadRequest)
    assert (error.param, error.code) == ("items[1].id", "duplicate_item_id")
    error = await refused(created(worker, said, said), BadRequest)
    assert error.param == "items[1].id"
    assert await listed(worker, made["id"]) == [item]


async def test_items_are_listed_newest_first_with_cursors_of_their_own_conversation(worker: Process) -> None:
    made = await created(worker, *({"role": "user", "content": text} for text in "abcde"))
    other = await created(worker, HELLO)
    context, items = worker.context(), await listed(worker, made["id"])
    (strange,) = await listed(worker, other["id"])

    page = await conversations.list_conversation_items(context, made["id"], 2, after=items[4]["id"])

    assert page["data"] == [items[3], items[2]]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (items[3]["id"], items[2]["id"], True)
    error = await refused(listed(worker, made["id"], after=strange["id"]), BadRequest)
    assert error.param == "after"


async def test_large_members_are_shown_where_they_are_asked_for(worker: Process) -> None:
    reasoning = {"type": "reasoning", "summary": [], "encrypted_content": "sealed"}
    made = await created(worker, reasoning)

    (hidden,) = await listed(worker, made["id"])
    (shown,) = await listed(worker, made["id"], include=["reasoning.encrypted_content"])

    assert "encrypted_content" not in hidden
    assert shown == {**hidden, "encrypted_content": "sealed"}


async def test_an_item_is_found_and_deleted_in_its_own_conversation_only(worker: Process) -> None:
    made, other = await created(worker, HELLO), await created(worker)
    (item,) = await listed(worker, made["id"])
    context = worker.context()

    words = f"Item with id '{item['id']}' not found in conversation '{other['id']}'."
    for call in (conversations.get_conversation_item, conversations.delete_conversation_item):
        error = await refused(call(context, other["id"], item["id"]), NotFound)
        assert error.message == words
    assert await conversations.delete_conversation_item(context, made["id"], item["id"]) == made
    assert await listed(worker, made["id"]) == []
    await refused(conversations.get_conversation_item(context, made["id"], item["id"]), NotFound)


async def test_a_reference_adds_the_item_of_another_conversation(worker: Process) -> None:
    source, made = await created(worker, HELLO), await created(worker)
    (item,) = await listed(worker, source["id"])
    reference = {"type": "item_reference", "id": item["id"]}

    answer = await add(worker, made["id"], reference)

    assert answer["data"] == await listed(worker, made["id"]) == [item]
    await refused(add(worker, source["id"], reference), BadRequest)
    other = await conversations.create_conversation(worker.context("q"), {})
    body = {"items": [reference]}
    for unknown in (
        conversations.create_conversation_items(worker.context("q"), other["id"], body),
        created(worker, {**reference, "id": "msg_x"}),
    ):
        await refused(unknown, NotFound)


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "compaction_trigger"}, "items[1].type"),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "file:///etc/passwd"}]},
            "items[1].content[0].image_url",
        ),
    ],
    ids=["trigger", "file-url"],
)
async def test_what_is_no_item_is_refused_and_leaves_nothing(worker: Process, item: JSON, param: str) -> None:
    made = await created(worker)
    assert (await refused(add(worker, made["id"], HELLO, item), BadRequest)).param == param
    assert await listed(worker, made["id"]) == []


# --- a response on the conversation ---


async def test_a_running_response_locks_the_items_and_nothing_else(worker: Process) -> None:
    made = await created(worker, HELLO)
    (item,) = await listed(worker, made["id"])
    await lock(worker, made["id"])
    context = worker.context()

    for call in (
        add(worker, made["id"], HELLO),
        conversations.delete_conversation_item(context, made["id"], item["id"]),
    ):
        error = await refused(call, BadRequest)
        assert error.code == "conversation_locked"
    assert await listed(worker, made["id"]) == [item]
    await conversations.update_conversation(context, made["id"], {"metadata": {"a": "b"}})
    await refused(add(worker, made["id"], HELLO), BadRequest)
    await conversations.delete_conversation(context, made["id"])
    await refused(conversations.get_conversation(context, made["id"]), NotFound)


async def test_items_of_an_ended_response_are_there_at_the_first_read(worker: Process) -> None:
    async def get(id: str) -> JSON:
        return await conversations.get_conversation_item(worker.context(), id, "msg_said")

    async def append(id: str) -> JSON:
        return await add(worker, id, {"role": "user", "content": "next"})

    for read in (partial(listed, worker), get, append):
        made = await created(worker, HELLO)
        await lock(worker, made["id"], "completed")

        await read(made["id"])

        assert (await listed(worker, made["id"]))[1]["id"] == "msg_said"
        response = await worker.store.get(Key("p", RESPONSES, "resp_1"))
        assert response is not None
        await worker.store.write(Delete(response))
