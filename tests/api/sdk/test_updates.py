"""Any object that the API returned can be sent to its update, also with the nulls of the SDK."""

from typing import Any

import pytest
from conftest import MODEL, script
from openai import BadRequestError, OpenAI

FUNCTION = {"type": "function", "function": {"name": "f"}}


@pytest.fixture
def objects(client: OpenAI) -> dict[str, Any]:
    """Return each object that has an update, by the path of that."""
    file = client.files.create(file=("a.txt", b"The sky is blue."), purpose="assistants")
    store = client.vector_stores.create(name="Books", file_ids=[file.id])
    member = client.vector_stores.files.create(vector_store_id=store.id, file_id=file.id)
    resources = {"file_search": {"vector_store_ids": [store.id]}}
    assistant = client.beta.assistants.create(
        model=MODEL,
        tools=[FUNCTION, {"type": "file_search"}, {"type": "code_interpreter"}],
        tool_resources=resources,
    )
    plain = client.beta.assistants.create(model=MODEL)
    says = {"role": "user", "content": script({"text": "Hi."})}
    thread = client.beta.threads.create(messages=[says], tool_resources=resources)
    message = client.beta.threads.messages.list(thread.id).data[0]
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=plain.id, poll_interval_ms=50
    )
    completion = client.chat.completions.create(model=MODEL, messages=[says], store=True)
    stored = client.get(f"/chat/completions/{completion.id}", cast_to=object)
    return {
        f"/vector_stores/{store.id}": store,
        f"/vector_stores/{store.id}/files/{file.id}": member,
        f"/assistants/{assistant.id}": assistant,
        f"/assistants/{plain.id}": plain,
        f"/threads/{thread.id}": thread,
        f"/threads/{thread.id}/messages/{message.id}": message,
        f"/threads/{thread.id}/runs/{run.id}": run,
        f"/chat/completions/{completion.id}": stored,
    }


def test_an_object_can_be_sent_to_its_own_update(client: OpenAI, objects: dict[str, Any]) -> None:
    headers = {"OpenAI-Beta": "assistants=v2"}
    for path, value in objects.items():
        dumped = value if isinstance(value, dict) else value.model_dump()
        before = client.get(path, cast_to=object, options={"headers": headers})
        after = client.post(path, body=dumped, cast_to=object, options={"headers": headers})
        for volatile in ("last_active_at", "usage_bytes", "status", "file_counts", "expires_at"):
            before.pop(volatile, None)
            after.pop(volatile, None)
        assert after == before, path


def test_an_update_refuses_a_field_that_no_object_has(client: OpenAI, objects: dict[str, Any]) -> None:
    for path in objects:
        answer = client.with_options(default_headers={"OpenAI-Beta": "assistants=v2"})
        with pytest.raises(BadRequestError, match="Unknown parameter: 'foo'"):
            answer.post(path, body={"foo": 1, "metadata": {}, "attributes": {}}, cast_to=object)


FIXED = {
    "messages/": {"content": "Other words."},
    "runs/": {"model": "another-model"},
    "chat/": {"temperature": 0.1},
    "vector_stores/": {"description": "Another."},
}
"""A field that only creation takes, for each kind of object, by a part of the path."""


def test_an_update_refuses_to_change_what_creation_fixed(client: OpenAI, objects: dict[str, Any]) -> None:
    updates = client.with_options(default_headers={"OpenAI-Beta": "assistants=v2"})
    for part, changed in FIXED.items():
        path = next(path for path in objects if part in path)
        (name,) = changed
        with pytest.raises(BadRequestError) as refused:
            updates.post(path, body={**changed, "metadata": {}}, cast_to=object)
        assert (refused.value.code, refused.value.param) == ("unknown_parameter", name)
