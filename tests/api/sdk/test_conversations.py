import openai
import pytest
from openai import OpenAI

pytest.importorskip("openai.types.conversations", reason="older SDKs know no conversations")

CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "42"}


def test_a_conversation_is_created_changed_and_deleted(client: OpenAI) -> None:
    made = client.conversations.create(metadata={"a": "b"})
    assert (made.object, made.metadata) == ("conversation", {"a": "b"})
    assert client.conversations.retrieve(made.id) == made
    assert client.conversations.update(made.id, metadata={"c": "d"}).metadata == {"c": "d"}
    deleted = client.conversations.delete(made.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (made.id, "conversation.deleted", True)
    with pytest.raises(openai.NotFoundError, match=f"Conversation with id '{made.id}' not found."):
        client.conversations.retrieve(made.id)


def test_items_of_every_kind_are_listed_as_they_were_added(client: OpenAI) -> None:
    items = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "What is it?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Ask f."}]},
        CALL,
        OUTPUT,
        {"type": "custom_tool_call", "call_id": "call_2", "name": "g", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "y"},
        {"role": "assistant", "content": "It is 42."},
    ]
    conversation = client.conversations.create(items=items[:2])
    added = client.conversations.items.create(conversation.id, items=items[2:])
    listed = list(client.conversations.items.list(conversation.id, order="asc", limit=3))
    assert [item.type for item in listed] == [item.get("type", "message") for item in items]
    assert listed[2:] == added.data
    assert (added.first_id, added.last_id, added.has_more) == (listed[2].id, listed[-1].id, False)
    assert [item.id for item in client.conversations.items.list(conversation.id)] == [
        item.id for item in reversed(listed)
    ]
    for item in listed:
        assert client.conversations.items.retrieve(item.id, conversation_id=conversation.id) == item


def test_what_is_included_is_shown(client: OpenAI) -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"}
    conversation = client.conversations.create(items=[reasoning])
    (item,) = client.conversations.items.list(conversation.id)
    assert item.encrypted_content is None
    include = ["message.input_image.image_url", "reasoning.encrypted_content"]
    (item,) = client.conversations.items.list(conversation.id, include=include)
    assert item.encrypted_content == "sealed"


def test_deleting_an_item_answers_the_conversation(client: OpenAI) -> None:
    conversation = client.conversations.create(items=[CALL, OUTPUT])
    call, output = client.conversations.items.list(conversation.id, order="asc")
    assert client.conversations.items.delete(output.id, conversation_id=conversation.id) == conversation
    assert list(client.conversations.items.list(conversation.id)) == [call]
    words = f"Item with id '{output.id}' not found in conversation '{conversation.id}'."
    with pytest.raises(openai.NotFoundError, match=words):
        client.conversations.items.retrieve(output.id, conversation_id=conversation.id)


def test_more_than_twenty_items_at_once_are_refused(client: OpenAI) -> None:
    conversation = client.conversations.create(items=[])
    items = [{"role": "user", "content": "x"}] * 21
    with pytest.raises(openai.BadRequestError) as refusal:
        client.conversations.items.create(conversation.id, items=items)
    assert (refusal.value.param, refusal.value.code) == ("items", "array_above_max_length")
    with pytest.raises(openai.BadRequestError):
        client.conversations.create(items=items)
