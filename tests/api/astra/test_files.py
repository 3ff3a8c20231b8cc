import io

from conftest import MODEL, script
from openai import OpenAI


def test_an_upload_keeps_its_embedding_model(client: OpenAI):
    file = client.files.create(
        file=("a.txt", b"Penguins swim."), purpose="assistants", embedding_model="cohere/embed-english-v3.0"
    )
    assert file.embedding_model == "cohere/embed-english-v3.0"
    assert client.files.retrieve(file.id).embedding_model == "cohere/embed-english-v3.0"
    assert client.files.list().data[0].embedding_model == "cohere/embed-english-v3.0"


def test_a_file_without_a_named_embedding_model_shows_one_that_the_client_knows(client: OpenAI):
    file = client.files.create(file=("a.txt", b"Penguins swim."), purpose="assistants")
    assert file.embedding_model.startswith("openai/")
    assert client.files.retrieve(file.id).embedding_model == file.embedding_model


def test_an_empty_file_is_uploaded(client: OpenAI):
    file = client.files.create(file=("Dockerfile", io.BytesIO(b"")), purpose="assistants")
    assert file.bytes == 0


def test_an_unknown_file_is_deleted(client: OpenAI):
    assert client.files.delete("e3b0c442-98fc-1c14-9afb-f4c8996fb924").deleted


def test_a_deleted_file_is_gone(client: OpenAI):
    file = client.files.create(file=("a.txt", b"Penguins swim."), purpose="assistants")
    assert client.files.delete(file.id).deleted
    assert file.id not in [one.id for one in client.files.list().data]


def test_a_run_of_an_assistant_with_a_vector_store_searches_it(client: OpenAI):
    file = client.files.create(file=("birds.txt", b"Penguins swim under ice."), purpose="assistants")
    store = client.vector_stores.create(name="birds", file_ids=[file.id])
    assistant = client.beta.assistants.create(
        model=MODEL,
        tools=[{"type": "file_search"}],
        tool_resources={"file_search": {"vector_store_ids": [store.id]}},
    )
    search = {"calls": [{"name": "file_search", "arguments": {"queries": ["penguins"]}}]}
    thread = client.beta.threads.create(
        messages=[{"role": "user", "content": script(search, {"text": "They swim."})}]
    )
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert (run.status, run.last_error) == ("completed", None)
    message = client.beta.threads.messages.list(thread_id=thread.id).data[0]
    assert message.content[0].text.value == "They swim."
    steps = client.beta.threads.runs.steps.list(thread_id=thread.id, run_id=run.id, order="asc").data
    (chunk,) = steps[0].step_details.tool_calls[0].file_search.chunks
    assert (chunk["file_id"], chunk["content"]) == (file.id, "Penguins swim under ice.")
