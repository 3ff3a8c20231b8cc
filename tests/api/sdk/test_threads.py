import openai
import pytest
from openai import OpenAI


def test_a_thread_keeps_its_messages_in_order(client: OpenAI) -> None:
    thread = client.beta.threads.create(
        messages=[{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    )
    client.beta.threads.messages.create(thread.id, role="user", content="three")
    messages = client.beta.threads.messages.list(thread.id, order="asc").data
    assert [(m.role, m.content[0].text.value) for m in messages] == [
        ("user", "one"),
        ("assistant", "two"),
        ("user", "three"),
    ]


def test_messages_are_listed_newest_first_unless_asked_otherwise(client: OpenAI) -> None:
    thread = client.beta.threads.create(messages=[{"role": "user", "content": text} for text in "abc"])
    assert [m.content[0].text.value for m in client.beta.threads.messages.list(thread.id)] == ["c", "b", "a"]


def test_a_message_keeps_its_parts_and_metadata(client: OpenAI) -> None:
    thread = client.beta.threads.create()
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    made = client.beta.threads.messages.create(thread.id, role="user", content=parts, metadata={"k": "v"})
    again = client.beta.threads.messages.retrieve(made.id, thread_id=thread.id)
    assert again == made
    assert [part.type for part in again.content] == ["text", "image_url"]
    assert again.content[1].image_url.detail == "auto"
    changed = client.beta.threads.messages.update(made.id, thread_id=thread.id, metadata={"k": "w"})
    assert changed.metadata == {"k": "w"}


def test_deleting_a_message_keeps_the_others(client: OpenAI) -> None:
    thread = client.beta.threads.create(messages=[{"role": "user", "content": text} for text in "ab"])
    last = client.beta.threads.messages.list(thread.id).data[0]
    assert client.beta.threads.messages.delete(last.id, thread_id=thread.id).deleted
    assert [m.content[0].text.value for m in client.beta.threads.messages.list(thread.id)] == ["a"]


def test_deleting_a_thread_deletes_its_messages(client: OpenAI) -> None:
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "x"}])
    message = client.beta.threads.messages.list(thread.id).data[0]
    assert client.beta.threads.delete(thread.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.beta.threads.messages.list(thread.id)
    with pytest.raises(openai.NotFoundError):
        client.beta.threads.messages.retrieve(message.id, thread_id=thread.id)


def test_a_cursor_of_another_thread_is_refused(client: OpenAI) -> None:
    one, other = (client.beta.threads.create(messages=[{"role": "user", "content": "x"}]) for _ in range(2))
    foreign = client.beta.threads.messages.list(other.id).data[0].id
    with pytest.raises(openai.BadRequestError) as refusal:
        client.beta.threads.messages.list(one.id, after=foreign)
    assert refusal.value.param == "after"


def test_a_message_of_another_thread_is_not_found(client: OpenAI) -> None:
    one, other = (client.beta.threads.create(messages=[{"role": "user", "content": "x"}]) for _ in range(2))
    foreign = client.beta.threads.messages.list(other.id).data[0].id
    with pytest.raises(openai.NotFoundError):
        client.beta.threads.messages.retrieve(foreign, thread_id=one.id)
