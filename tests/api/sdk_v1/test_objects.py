import openai
import pytest
from conftest import MODEL, V2
from openai import OpenAI


def test_an_assistant_has_its_files_and_the_retrieval_tool(client: OpenAI, v2: V2, upload) -> None:
    file = upload("a.txt", "The sky is blue.")
    made = client.beta.assistants.create(model=MODEL, tools=[{"type": "retrieval"}], file_ids=[file])
    assert [tool.type for tool in made.tools] == ["retrieval"]
    assert made.file_ids == [file]
    assert client.beta.assistants.retrieve(made.id) == made
    assert made in client.beta.assistants.list(limit=100).data
    later = v2.get(f"/assistants/{made.id}")
    assert [tool["type"] for tool in later["tools"]] == ["file_search"]
    [store] = later["tool_resources"]["file_search"]["vector_store_ids"]
    assert [each["id"] for each in v2.get(f"/vector_stores/{store}/files")["data"]] == [file]
    assert v2.get(f"/vector_stores/{store}")["expires_after"] is None
    client.beta.assistants.delete(made.id)


def test_files_of_an_assistant_come_and_go(client: OpenAI, v2: V2, upload) -> None:
    files = [upload(f"{number}.txt", f"Text {number}.") for number in range(3)]
    assistant = client.beta.assistants.create(model=MODEL, tools=[{"type": "retrieval"}])
    api = client.beta.assistants.files
    for file in files:
        made = api.create(assistant.id, file_id=file)
        assert (made.id, made.assistant_id, made.object) == (file, assistant.id, "assistant.file")
        assert api.retrieve(file, assistant_id=assistant.id) == made
    assert [each.id for each in api.list(assistant.id, order="asc")] == files
    assert [each.id for each in api.list(assistant.id, order="asc", limit=1)] == files
    assert [each.id for each in api.list(assistant.id)] == files[::-1]
    page = api.list(assistant.id, order="asc", before=files[2], limit=1)
    assert ([each.id for each in page.data], page.has_more) == (files[1:2], True)

    gone = api.delete(files[1], assistant_id=assistant.id)

    assert (gone.id, gone.deleted, gone.object) == (files[1], True, "assistant.file.deleted")
    assert client.beta.assistants.retrieve(assistant.id).file_ids == [files[0], files[2]]
    with pytest.raises(openai.NotFoundError, match=files[1]):
        api.retrieve(files[1], assistant_id=assistant.id)
    with pytest.raises(openai.NotFoundError):
        api.delete(files[1], assistant_id=assistant.id)
    assert client.files.retrieve(files[1]).id == files[1]
    [store] = v2.get(f"/assistants/{assistant.id}")["tool_resources"]["file_search"]["vector_store_ids"]
    assert {each["id"] for each in v2.get(f"/vector_stores/{store}/files")["data"]} == {files[0], files[2]}
    with pytest.raises(openai.NotFoundError, match="file-missing"):
        api.create(assistant.id, file_id="file-missing")


def test_new_file_ids_change_the_assistants_own_vector_store(client: OpenAI, v2: V2, upload) -> None:
    first, second = upload("first.txt", "First."), upload("second.txt", "Second.")
    assistant = client.beta.assistants.create(model=MODEL, file_ids=[first])
    resources = v2.get(f"/assistants/{assistant.id}")["tool_resources"]

    changed = client.beta.assistants.update(assistant.id, file_ids=[second], name="Ada")

    assert (changed.file_ids, changed.name) == ([second], "Ada")
    later = v2.get(f"/assistants/{assistant.id}")["tool_resources"]
    assert later == {**resources, "code_interpreter": {"file_ids": [second]}}
    [store] = later["file_search"]["vector_store_ids"]
    assert [each["id"] for each in v2.get(f"/vector_stores/{store}/files")["data"]] == [second]
    assert client.beta.assistants.update(assistant.id, name="Bob").file_ids == [second]
    assert client.beta.assistants.update(assistant.id, file_ids=[]).file_ids == []
    with pytest.raises(openai.NotFoundError) as refused:
        client.beta.assistants.update(assistant.id, file_ids=["file-missing"])
    assert refused.value.body["param"] == "file_ids[0]"


def test_an_assistant_of_version_2_shows_the_files_of_its_vector_store(
    client: OpenAI, v2: V2, upload
) -> None:
    files = [upload(f"{number}.txt", f"Text {number}.") for number in range(21)]
    store = v2.post("/vector_stores", file_ids=files[:20])["id"]
    made = v2.post(
        "/assistants",
        model=MODEL,
        tools=[{"type": "file_search"}],
        tool_resources={"file_search": {"vector_store_ids": [store]}},
    )
    shown = client.beta.assistants.retrieve(made["id"])
    assert set(shown.file_ids) == set(files[:20])
    assert [tool.type for tool in shown.tools] == ["retrieval"]
    with pytest.raises(openai.BadRequestError, match="20 files already"):
        client.beta.assistants.files.create(made["id"], file_id=files[20])
    v2.post(f"/vector_stores/{store}/files", file_id=files[20])
    assert len(client.beta.assistants.retrieve(made["id"]).file_ids) == 20
    with pytest.raises(openai.BadRequestError, match="more than 20 files"):
        client.beta.assistants.update(made["id"], file_ids=files[:1])
    assert v2.get(f"/vector_stores/{store}")["file_counts"]["total"] == 21


def test_an_assistant_whose_vector_store_is_gone_gets_another(client: OpenAI, v2: V2, upload) -> None:
    files = [upload("a.txt", "A."), upload("b.txt", "B.")]
    assistant = client.beta.assistants.create(model=MODEL, file_ids=files[:1])
    [store] = v2.get(f"/assistants/{assistant.id}")["tool_resources"]["file_search"]["vector_store_ids"]
    client.delete(
        f"/vector_stores/{store}", cast_to=object, options={"headers": {"OpenAI-Beta": "assistants=v2"}}
    )
    assert client.beta.assistants.update(assistant.id, file_ids=files).file_ids == files
    [other] = v2.get(f"/assistants/{assistant.id}")["tool_resources"]["file_search"]["vector_store_ids"]
    assert other != store


def test_files_of_a_message_are_attachments_in_version_2(client: OpenAI, v2: V2, upload) -> None:
    files = [upload("a.txt", "A."), upload("b.txt", "B.")]
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hi", "file_ids": files[:1]}])
    second = client.beta.threads.messages.create(thread.id, role="user", content="Yes", file_ids=files)
    assert second.file_ids == files

    listed = v2.get(f"/threads/{thread.id}/messages?order=asc")["data"]

    tools = [{"type": "file_search"}, {"type": "code_interpreter"}]
    assert [[each["file_id"] for each in message["attachments"]] for message in listed] == [files[:1], files]
    assert all(each["tools"] == tools for message in listed for each in message["attachments"])
    api = client.beta.threads.messages.files
    shown = api.list(second.id, thread_id=thread.id, order="asc").data
    assert [(each.id, each.message_id, each.object) for each in shown] == [
        (file, second.id, "thread.message.file") for file in files
    ]
    assert api.retrieve(files[1], thread_id=thread.id, message_id=second.id) == shown[1]
    with pytest.raises(openai.NotFoundError, match="file-missing"):
        api.retrieve("file-missing", thread_id=thread.id, message_id=second.id)
    with pytest.raises(openai.NotFoundError) as refused:
        client.beta.threads.messages.create(thread.id, role="user", content="No", file_ids=["file-missing"])
    assert refused.value.body["param"] == "file_ids[0]"
    assert (
        client.beta.threads.messages.create(thread.id, role="user", content="No", file_ids=[]).file_ids == []
    )


def test_a_thread_of_version_2_is_read_whole(client: OpenAI, v2: V2, upload) -> None:
    files = [upload(f"{number}.txt", f"Text {number}.") for number in range(12)]
    content = [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    attachments = [{"file_id": file, "tools": [{"type": "code_interpreter"}]} for file in files]
    thread = v2.post("/threads", messages=[{"role": "user", "content": content, "attachments": attachments}])

    read = client.beta.threads.retrieve(thread["id"])
    [message] = client.beta.threads.messages.list(thread["id"]).data

    assert read.metadata == {}
    assert not hasattr(read, "tool_resources")
    assert [part.text.value for part in message.content] == ["Look:", "https://example.com/a.png"]
    assert message.file_ids == files


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/assistants", {"model": "m", "file_ids": ["file-1"]}, "file_ids"),
        ("/assistants", {"model": "m", "tools": [{"type": "retrieval"}]}, "tools[0].type"),
        (
            "/threads",
            {"messages": [{"role": "user", "content": "x", "file_ids": []}]},
            "messages[0].file_ids",
        ),
    ],
)
def test_a_body_of_version_1_is_refused_in_version_2(v2: V2, path: str, body: dict, param: str) -> None:
    assert v2.refused(path, **body)["param"] == param


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/assistants", {"model": "m", "tool_resources": {}}, "tool_resources"),
        ("/assistants", {"model": "m", "tools": [{"type": "file_search"}]}, "tools[0].type"),
        (
            "/threads",
            {"messages": [{"role": "user", "content": "x", "attachments": []}]},
            "messages[0].attachments",
        ),
        (
            "/threads",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
            "messages[0].content",
        ),
    ],
)
def test_a_body_of_version_2_is_refused_in_version_1(
    client: OpenAI, path: str, body: dict, param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.post(path, body=body, cast_to=object, options={"headers": {"OpenAI-Beta": "assistants=v1"}})
    assert refused.value.body["param"] == param


def test_a_path_of_version_2_names_its_header(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="assistants=v2"):
        client.post("/vector_stores", cast_to=object, options={"headers": {"OpenAI-Beta": "assistants=v1"}})
