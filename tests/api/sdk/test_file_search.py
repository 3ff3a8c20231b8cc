from conftest import MODEL, script
from openai import OpenAI

STORMS = "All about winter storms. They break the harbour's wall every year."
SHIPS = "All about summer ships. They sail to the islands in June."
CONTENT = "step_details.tool_calls[*].file_search.results[*].content"


def search(*queries: str) -> dict:
    return {"calls": [{"name": "file_search", "arguments": {"queries": queries}}]}


def store_of(client: OpenAI, name: str, text: str) -> str:
    store = client.vector_stores.create()
    client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=(name, text.encode()))
    return store.id


def test_an_answer_cites_files_of_the_assistant_and_the_thread(client: OpenAI) -> None:
    stores = [store_of(client, "storms.txt", STORMS), store_of(client, "ships.txt", SHIPS)]
    assistant = client.beta.assistants.create(
        model=MODEL,
        tools=[{"type": "file_search"}],
        tool_resources={"file_search": {"vector_store_ids": stores[:1]}},
    )
    answer = "Walls break {find:【0:\\d†storms.txt】} and ships sail 🦄 {find:【0:\\d†ships.txt】}."
    thread = client.beta.threads.create(
        messages=[{"role": "user", "content": script(search("winter storms", "ships"), {"text": answer})}],
        tool_resources={"file_search": {"vector_store_ids": stores[1:]}},
    )
    deltas, calls = [], []
    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
        for event in stream:
            if event.event == "thread.message.delta":
                deltas += [part.text for part in event.data.delta.content]
            if event.event == "thread.run.step.delta":
                calls += event.data.delta.step_details.tool_calls
    assert [call.type for call in calls] == ["file_search"]
    [message] = client.beta.threads.messages.list(thread.id, limit=1).data
    text = message.content[0].text
    assert "".join(delta.value for delta in deltas) == text.value
    streamed = [annotation for delta in deltas for annotation in delta.annotations or []]
    assert len(text.annotations) == len(streamed) == 2
    for annotation, delta, source in zip(text.annotations, streamed, (STORMS, SHIPS), strict=True):
        assert text.value[annotation.start_index : annotation.end_index] == annotation.text
        assert (delta.text, delta.start_index) == (annotation.text, annotation.start_index)
        assert annotation.file_citation.quote in source
        content = client.files.content(annotation.file_citation.file_id).read()
        assert content.decode() == source
    [run] = client.beta.threads.runs.list(thread.id).data
    plain, full = (
        client.beta.threads.runs.steps.list(run_id=run.id, thread_id=thread.id, order="asc", **include).data[
            0
        ]
        for include in ({}, {"include": [CONTENT]})
    )
    for step, texts in ((plain, [None, None]), (full, [STORMS, SHIPS])):
        [call] = step.step_details.tool_calls
        assert call.type == "file_search"
        shown = [result.content[0].text if result.content else None for result in call.file_search.results]
        assert sorted(shown, key=str) == sorted(texts, key=str)
    for store in stores:
        client.vector_stores.delete(store)


def test_an_attached_file_can_be_searched_at_once(client: OpenAI) -> None:
    file = client.files.create(file=("storms.txt", STORMS.encode()), purpose="assistants")
    assistant = client.beta.assistants.create(model=MODEL, tools=[{"type": "file_search"}])
    thread = client.beta.threads.create()
    client.beta.threads.messages.create(
        thread.id,
        role="user",
        content=script(search("winter storms"), {"text": "So {find:【0:0†storms.txt】}"}),
        attachments=[{"file_id": file.id, "tools": [{"type": "file_search"}]}],
    )
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=50
    )
    assert run.status == "completed"
    [message] = client.beta.threads.messages.list(thread.id, limit=1).data
    [annotation] = message.content[0].text.annotations
    assert annotation.file_citation.file_id == file.id
    [store] = client.beta.threads.retrieve(thread.id).tool_resources.file_search.vector_store_ids
    assert client.vector_stores.retrieve(store).expires_after.days == 7
    client.vector_stores.delete(store)
