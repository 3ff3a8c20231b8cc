"""Answers have the types of the SDK, which is told to check them."""

import pytest
from conftest import MODEL
from openai import OpenAI


@pytest.fixture
def strict(url: str):
    with OpenAI(base_url=url, api_key="any", max_retries=0, _strict_response_validation=True) as client:
        yield client


def test_an_assistant_can_have_an_existing_and_a_new_vector_store(strict: OpenAI) -> None:
    given = strict.vector_stores.create()
    search = {"vector_store_ids": [given.id], "vector_stores": [{"metadata": {"made": "yes"}}]}
    for made in (
        strict.beta.assistants.create(model=MODEL, tool_resources={"file_search": search}),
        strict.beta.threads.create(tool_resources={"file_search": search}),
    ):
        first, second = made.tool_resources.file_search.vector_store_ids
        assert first == given.id
        assert strict.vector_stores.retrieve(second).metadata == {"made": "yes"}
    assert strict.beta.assistants.list(limit=1).data


def test_unset_fields_have_the_types_of_the_sdk(strict: OpenAI) -> None:
    store = strict.vector_stores.create()
    assert store.name == ""
    assert strict.vector_stores.retrieve(store.id) == store
    assert strict.vector_stores.list(limit=1).data
    assistant = strict.beta.assistants.create(model=MODEL)
    thread = strict.beta.threads.create(messages=[{"role": "user", "content": "hi"}])
    run = strict.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert (run.status, run.instructions) == ("completed", "")
    assert strict.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
    assert len(strict.beta.threads.messages.list(thread.id).data) == 2


def test_a_text_completion_streams(client: OpenAI) -> None:
    stream = client.completions.create(model=MODEL, prompt="hi", stream=True)
    assert "".join(choice.text for chunk in stream for choice in chunk.choices)


def test_whole_numbers_can_be_written_as_decimals(strict: OpenAI) -> None:
    store = strict.vector_stores.create(expires_after={"anchor": "last_active_at", "days": 2.0})
    assert store.expires_at == store.last_active_at + 2 * 86_400
    assert strict.vector_stores.search(store.id, query="hi", max_num_results=3.0).data == []
