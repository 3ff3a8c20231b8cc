"""A conversation gets the items of a response that has ended, once, whatever was interrupted."""

import asyncio
from typing import Any

import pytest

from inference.engine.state import ACTIVE_RUN
from inference.identifiers import new_id
from inference.responses.conversations import (
    check_unlocked,
    conversation_object,
    item_inserts,
    newest_items,
    settled,
)
from inference.responses.errors import ConversationLocked, ConversationNotFound
from persistence.collections import CONVERSATIONS, RESPONSES
from persistence.store import Delete, Document, Insert, Key, Store
from persistence.types import JSON
from tests.contract.engines import ENGINES

pytestmark = pytest.mark.parametrize("store", ENGINES, indirect=True)


def message(id: str, role: str = "user") -> JSON:
    content = [{"type": "input_text", "text": id}]
    return {"id": id, "type": "message", "role": role, "status": "completed", "content": content}


def empty(state: JSON) -> Insert:
    """Return the write that makes a conversation without items."""
    value = conversation_object(new_id("conv_"), now=1)
    return Insert(Key("p", CONVERSATIONS, value["id"]), value, state)


async def held(store: Store, status: str | None) -> Document:
    """Return a conversation that names a response of that status; None for one without a document."""
    response_id = new_id("resp_")
    operations = [empty({ACTIVE_RUN: response_id, "other": 1})]
    if status is not None:
        response = {"id": response_id, "status": status, "output": [message("msg_3", "assistant")]}
        given = [{"type": "item_reference", "id": "msg_1"}, message("msg_1"), message("msg_2")]
        state: Any = {"extra": {"input": given}}
        operations.append(Insert(Key("p", RESPONSES, response_id), response, state))
    return (await store.write(*operations))[0]


async def ids(store: Store, conversation: Document) -> list[str]:
    return [item["id"] async for item in newest_items(store, "p", conversation.id)]


async def test_an_ended_response_adds_its_items_in_order_and_frees_the_conversation(store: Store) -> None:
    conversation = await settled(store, await held(store, "completed"))

    assert conversation.state == {"other": 1}
    assert await store.get(conversation.key) == conversation
    assert await ids(store, conversation) == ["msg_3", "msg_2", "msg_1"]
    check_unlocked(conversation)


async def test_what_an_interrupted_end_has_left_undone_is_added(store: Store) -> None:
    conversation = await held(store, "incomplete")
    await store.write(*item_inserts("p", conversation.id, [message("msg_1")]))

    assert await ids(store, await settled(store, conversation)) == ["msg_3", "msg_2", "msg_1"]


async def test_many_readers_at_once_add_the_items_once(store: Store) -> None:
    conversation = await held(store, "completed")

    found = await asyncio.gather(*(settled(store, conversation) for _ in range(20)))

    assert all(each == found[0] for each in found)
    assert await ids(store, conversation) == ["msg_3", "msg_2", "msg_1"]


async def test_a_running_response_keeps_its_conversation(store: Store) -> None:
    held_by = await held(store, "in_progress")
    conversation = await settled(store, held_by)

    assert conversation == held_by
    with pytest.raises(ConversationLocked):
        check_unlocked(conversation)
    assert await ids(store, conversation) == []


async def test_a_response_that_does_not_exist_keeps_no_conversation(store: Store) -> None:
    conversation = await settled(store, await held(store, None))

    check_unlocked(conversation)
    assert conversation.version == 1  # a start that is being written still knows this version


async def test_a_conversation_that_was_deleted_meanwhile_is_not_found(store: Store) -> None:
    conversation = await held(store, "completed")
    await store.write(Delete(conversation))

    with pytest.raises(ConversationNotFound):
        await settled(store, conversation)


async def test_items_are_read_newest_first_over_many_pages(store: Store) -> None:
    (conversation,) = await store.write(empty({}))
    names = [f"msg_{number}" for number in range(250)]
    await store.write(*item_inserts("p", conversation.id, [message(name) for name in names]))

    assert await ids(store, conversation) == names[::-1]
