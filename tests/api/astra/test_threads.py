import pytest
from conftest import MODEL, script
from openai import BadRequestError, OpenAI


def test_assistants_are_created_listed_changed_and_deleted(client: OpenAI):
    assistant = client.beta.assistants.create(model=MODEL, name="Ada")
    assert client.beta.assistants.retrieve(assistant.id).name == "Ada"
    assert client.beta.assistants.update(assistant.id, name="Bea").name == "Bea"
    assert assistant.id in [one.id for one in client.beta.assistants.list()]
    assert client.beta.assistants.delete(assistant.id).deleted


def test_threads_are_created_listed_changed_and_deleted(client: OpenAI):
    first, second = client.beta.threads.create(), client.beta.threads.create()
    listed = client.beta.threads.list(limit=2)
    assert [one.id for one in listed.data] == [second.id, first.id]
    assert client.beta.threads.list(limit=1, after=second.id).data[0].id == first.id
    assert client.beta.threads.update(first.id, metadata={"a": "b"}).metadata == {"a": "b"}
    assert client.beta.threads.delete(first.id).deleted


async def test_threads_have_messages_that_change_for_an_async_client(async_client):
    thread = await async_client.beta.threads.create()
    message = await async_client.beta.threads.messages.create(thread_id=thread.id, role="user", content="a")
    pending = await async_client.beta.threads.messages.update(
        thread_id=thread.id, message_id=message.id, content="b"
    )
    changed = await pending if hasattr(pending, "__await__") else pending
    assert changed.content[0].text.value == "b"


def test_the_content_role_and_metadata_of_a_message_change(client: OpenAI):
    thread = client.beta.threads.create()
    message = client.beta.threads.messages.create(thread_id=thread.id, role="user", content="puppies")
    names = {"thread_id": thread.id, "message_id": message.id}
    changed = client.beta.threads.messages.update(**names, content="kittens")
    assert changed.content[0].text.value == "kittens"
    assert (changed.id, changed.role, changed.created_at) == (message.id, "user", message.created_at)
    changed = client.beta.threads.messages.update(**names, role="assistant", metadata={"a": "b"})
    assert (changed.role, changed.metadata) == ("assistant", {"a": "b"})
    kept = client.beta.threads.messages.retrieve(message_id=message.id, thread_id=thread.id)
    assert kept.content[0].text.value == "kittens"


def test_a_message_may_be_given_parts_and_attachments(client: OpenAI):
    file = client.files.create(file=("a.txt", b"Penguins swim."), purpose="assistants")
    thread = client.beta.threads.create()
    message = client.beta.threads.messages.create(thread_id=thread.id, role="user", content="puppies")
    changed = client.beta.threads.messages.update(
        thread_id=thread.id,
        message_id=message.id,
        content=[{"type": "text", "text": "one"}, {"type": "text", "text": "two"}],
        attachments=[{"file_id": file.id, "tools": [{"type": "file_search"}]}],
    )
    assert [part.text.value for part in changed.content] == ["one", "two"]
    assert changed.attachments[0].file_id == file.id
    (store,) = client.beta.threads.retrieve(thread.id).tool_resources.file_search.vector_store_ids
    assert [one.id for one in client.vector_stores.files.list(vector_store_id=store).data] == [file.id]


@pytest.mark.parametrize(
    "field", [{"content": ""}, {"content": 5}, {"role": "system"}, {"attachments": [{}]}]
)
def test_a_message_is_changed_to_valid_values_only(client: OpenAI, field: dict):
    thread = client.beta.threads.create()
    message = client.beta.threads.messages.create(thread_id=thread.id, role="user", content="puppies")
    with pytest.raises(BadRequestError) as refusal:
        client.beta.threads.messages.update(thread_id=thread.id, message_id=message.id, **field)
    assert refusal.value.param.partition("[")[0] == next(iter(field))


def test_a_deleted_message_is_gone(client: OpenAI):
    thread = client.beta.threads.create()
    message = client.beta.threads.messages.create(thread_id=thread.id, role="user", content="puppies")
    assert client.beta.threads.messages.delete(thread_id=thread.id, message_id=message.id).deleted
    assert client.beta.threads.messages.list(thread_id=thread.id).data == []


def test_a_whole_thread_is_given_to_create_and_run(client: OpenAI):
    assistant = client.beta.assistants.create(model=MODEL)
    thread = client.beta.threads.create(metadata={"a": "b"})
    run = client.beta.threads.create_and_run(thread=thread, assistant_id=assistant.id)
    assert run.thread_id != thread.id
    assert client.beta.threads.retrieve(run.thread_id).metadata == {"a": "b"}


def test_tool_outputs_are_submitted_with_the_runs_model(client: OpenAI):
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    assistant = client.beta.assistants.create(model=MODEL, tools=[tool])
    call = {"calls": [{"name": "weather", "arguments": {}, "id": "call_1"}]}
    thread = client.beta.threads.create(
        messages=[{"role": "user", "content": script(call, {"text": "It is {tool}."})}]
    )
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert run.status == "requires_action"
    client.beta.threads.runs.submit_tool_outputs_and_poll(
        thread_id=thread.id, run_id=run.id, tool_outputs=[{"tool_call_id": "call_1", "output": "sunny"}]
    )
    messages = client.beta.threads.messages.list(thread_id=thread.id).data
    assert messages[0].content[0].text.value == "It is sunny."
