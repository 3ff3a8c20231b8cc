"""What callers do to a conversation while a response runs on it, and what the response leaves there."""

import asyncio

import pytest

from handlers import conversations
from inference.gateway import Gateway
from inference.responses.errors import ConversationLocked
from inference.responses.items import ItemRefused
from inference.responses.responses import IDS_AT_ONCE
from persistence.collections import CONVERSATION_ITEMS
from persistence.store import Document, Key, Store
from persistence.types import JSON
from tests.contract.engines import ENGINES
from tests.inference.engine.process import script
from tests.inference.responses.worker import Worker, text_of, worker

pytestmark = pytest.mark.parametrize("store", ENGINES, indirect=True)

SLOW = {"text": "one two three four five six seven eight", "delay": 0.05}


def said(text: str) -> JSON:
    return {"items": [{"role": "user", "content": text}]}


def texts(items: list[JSON]) -> list[str]:
    return [item["content"][0]["text"] for item in items]


async def begun(one: Worker, conversation: str) -> JSON:
    return await one.create(script(SLOW), conversation=conversation, background=True)


async def test_items_wait_for_the_end_and_are_there_when_it_is_seen(store: Store, gateway: Gateway) -> None:
    async with worker(store, gateway) as one, worker(store, gateway) as other:
        conversation = await one.conversation()
        await conversations.create_conversation_items(one.context(), conversation, said("first"))
        (first,) = await one.items(conversation)
        running = await begun(one, conversation)
        for call in (
            conversations.create_conversation_items(other.context(), conversation, said("x")),
            conversations.delete_conversation_item(other.context(), conversation, first["id"]),
            other.create("x", conversation=conversation),
        ):
            with pytest.raises(ConversationLocked):
                await call
        assert await other.items(conversation) == [first]

        ended = await other.ended(running["id"])
        items = await other.items(conversation)
        await conversations.create_conversation_items(other.context(), conversation, said("x"))

        assert texts(items[:1]) == ["first"]
        assert items[2] == ended["output"][0]
        assert texts(await one.items(conversation))[-1] == "x"


async def test_a_conversation_that_is_deleted_during_a_response_leaves_nothing(
    store: Store, gateway: Gateway
) -> None:
    async with worker(store, gateway) as one:
        conversation = await one.conversation()
        running = await begun(one, conversation)

        await conversations.delete_conversation(one.context(), conversation)

        ended = await one.ended(running["id"])
        assert (ended["status"], text_of(ended)) == ("completed", SLOW["text"])
        assert (await store.page("p", CONVERSATION_ITEMS, conversation)).documents == []


async def test_metadata_that_change_during_a_response_cost_it_nothing(store: Store, gateway: Gateway) -> None:
    async with worker(store, gateway) as one, worker(store, gateway) as other:
        conversation = await one.conversation()
        running = await begun(one, conversation)

        for number in range(5):
            changed = {"metadata": {"number": str(number)}}
            await conversations.update_conversation(other.context(), conversation, changed)

        ended = await one.ended(running["id"])
        assert (await other.items(conversation))[1] == ended["output"][0]
        found = await conversations.get_conversation(one.context(), conversation)
        assert found["metadata"] == {"number": "4"}


async def test_of_many_writers_each_waits_for_its_turn_or_is_refused(store: Store, gateway: Gateway) -> None:
    async with worker(store, gateway) as one, worker(store, gateway) as other:
        conversation = await one.conversation()

        async def answer(number: int) -> str | None:
            each = (one, other)[number % 2]
            try:
                return text_of(
                    await each.create(script({"text": f"answer {number}"}), conversation=conversation)
                )
            except ConversationLocked:
                return None

        async def add(number: int) -> str | None:
            each = (one, other)[number % 2]
            try:
                await conversations.create_conversation_items(
                    each.context(), conversation, said(f"added {number}")
                )
            except ConversationLocked:
                return None
            return f"added {number}"

        calls = [call(number) for number in range(12) for call in (answer, add)]
        kept = [text for text in await asyncio.gather(*calls) if text is not None]

        found = await one.items(conversation)
        assert sorted(text for text in texts(found) if not text.startswith("script:")) == sorted(kept)
        for index, text in enumerate(texts(found)):  # nothing comes between a question and its answer
            if text.startswith("answer"):
                assert text in texts(found)[index - 1]


async def test_the_ids_of_a_requests_items_are_looked_up_together(
    store: Store, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_now = most = looked_up = 0
    get = store.get

    async def counted(key: Key) -> Document | None:
        nonlocal open_now, most, looked_up
        if key.collection != CONVERSATION_ITEMS:
            return await get(key)
        looked_up += 1
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0)
        open_now -= 1
        return await get(key)

    async with worker(store, gateway) as one:
        conversation = await one.conversation()
        items = [{"type": "message", "id": f"msg_own{n}", "role": "user", "content": "x"} for n in range(100)]
        items[-1]["content"] = script({"text": "Yes."})
        monkeypatch.setattr(store, "get", counted)
        response = await one.create(items, conversation=conversation)
        assert (text_of(response), looked_up, most) == ("Yes.", 100, IDS_AT_ONCE)

        with pytest.raises(ItemRefused, match="msg_own99"):
            await one.create([items[-1]], conversation=conversation)
