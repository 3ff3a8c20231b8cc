import io
import urllib.request

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

NAME = '../wéird "name" 日本.txt'
STORMS = "All about winter storms. They break the harbour's wall."


def test_a_file_can_be_uploaded_and_downloaded(client: OpenAI) -> None:
    file = client.files.create(file=(NAME, STORMS.encode()), purpose="assistants")
    assert (file.filename, file.bytes, file.purpose, file.status) == (
        NAME,
        len(STORMS),
        "assistants",
        "processed",
    )
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).read() == STORMS.encode()
    assert file.id in [each.id for each in client.files.list(purpose="assistants", order="desc")]
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError) as caught:
        client.files.retrieve(file.id)
    assert caught.value.body["message"] == f"No such File object: {file.id}"


@pytest.mark.parametrize("purpose", ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"])
def test_every_purpose_is_accepted(client: OpenAI, purpose: str) -> None:
    file = client.files.create(file=("a.txt", b"x"), purpose=purpose)  # type: ignore[arg-type]
    assert file.purpose == purpose
    client.files.delete(file.id)


def test_a_file_can_expire(client: OpenAI) -> None:
    file = client.files.create(
        file=("a.txt", b"x"),
        purpose="user_data",
        extra_body={"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"},
    )
    assert file.expires_at == file.created_at + 3600
    client.files.delete(file.id)


def test_a_range_of_a_file_can_be_downloaded(client: OpenAI, url: str) -> None:
    file = client.files.create(file=("a.txt", STORMS.encode()), purpose="assistants")
    headers = {"range": "bytes=4-8", "authorization": "Bearer x"}
    request = urllib.request.Request(f"{url}/files/{file.id}/content", headers=headers)
    with urllib.request.urlopen(request) as answer:
        assert (answer.status, answer.read()) == (206, b"about")
    assert answer.headers["content-range"] == f"bytes 4-8/{len(STORMS)}"
    client.files.delete(file.id)


def test_a_wrong_purpose_names_the_field(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("a.txt", b"x"), purpose="anything")  # type: ignore[arg-type]
    assert caught.value.body["param"] == "purpose"


def test_a_large_file_can_be_uploaded_in_chunks(client: OpenAI) -> None:
    data = STORMS.encode() * 1000
    upload = client.uploads.upload_file_chunked(
        file=data,
        filename="large.txt",
        bytes=len(data),
        mime_type="text/plain",
        purpose="assistants",
        part_size=20_000,
    )
    assert upload.status == "completed"
    assert upload.file is not None
    assert client.files.content(upload.file.id).read() == data
    client.files.delete(upload.file.id)


def test_a_vector_store_is_filled_searched_and_emptied(client: OpenAI) -> None:
    store = client.vector_stores.create(name="Harbour")
    file = client.vector_stores.files.upload_and_poll(
        vector_store_id=store.id, file=("storms.txt", STORMS.encode())
    )
    assert (file.status, file.last_error) == ("completed", None)
    batch = client.vector_stores.file_batches.upload_and_poll(
        store.id, files=[("ships.md", io.BytesIO(b"# Ships\nThey sail.")), ("broken.pdf", b"no PDF")]
    )
    assert (batch.file_counts.completed, batch.file_counts.failed) == (1, 1)
    fresh = client.vector_stores.retrieve(store.id)
    assert (fresh.status, fresh.file_counts.total) == ("completed", 3)
    [found, *_] = client.vector_stores.search(
        store.id, query="winter storms", filters={"type": "ne", "key": "draft", "value": True}
    )
    assert (found.file_id, found.content[0].text) == (file.id, STORMS)
    [failed] = client.vector_stores.files.list(store.id, filter="failed")
    assert failed.last_error is not None
    assert failed.last_error.code == "invalid_file"
    [content] = client.vector_stores.files.content(file.id, vector_store_id=store.id)
    assert content.text == STORMS
    updated = client.vector_stores.files.update(file.id, vector_store_id=store.id, attributes={"draft": True})
    assert updated.attributes == {"draft": True}
    assert client.vector_stores.update(store.id, name="Port").name == "Port"
    assert client.vector_stores.files.delete(file.id, vector_store_id=store.id).deleted
    assert client.vector_stores.delete(store.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.retrieve(store.id)


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"file_ids": ["file-unknown"]}, 404, "file_ids[0]"),
        ({"expires_after": {"anchor": "last_active_at", "days": 0}}, 400, "expires_after.days"),
        ({"metadata": {"k" * 65: "v"}}, 400, "metadata"),
    ],
)
def test_a_wrong_vector_store_names_the_field(client: OpenAI, body: dict, status: int, param: str) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.vector_stores.create(**body)
    assert (caught.value.status_code, caught.value.body["param"]) == (status, param)


async def test_many_files_can_be_uploaded_at_once(async_client: AsyncOpenAI) -> None:
    store = await async_client.vector_stores.create()
    batch = await async_client.vector_stores.file_batches.upload_and_poll(
        store.id, files=[(f"{n}.txt", f"Number {n} of many.".encode()) for n in range(20)]
    )
    assert batch.file_counts.completed == 20
    page = await async_client.vector_stores.file_batches.list_files(
        batch.id, vector_store_id=store.id, limit=15
    )
    assert len(page.data) == 15
    assert page.has_next_page()
    await async_client.vector_stores.delete(store.id)
