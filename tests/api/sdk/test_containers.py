"""Containers and their files, against two workers that share them."""

import asyncio

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

pytest.importorskip("openai.types.container_create_response", reason="older SDKs know no containers")


def test_a_container_can_be_created_listed_and_deleted(client: OpenAI) -> None:
    container = client.containers.create(
        name="Sums", expires_after={"anchor": "last_active_at", "minutes": 5}
    )
    assert (container.object, container.status, container.name) == ("container", "running", "Sums")
    assert container.expires_after is not None
    assert container.expires_after.minutes == 5
    retrieved = client.containers.retrieve(container.id)
    assert (retrieved.id, retrieved.created_at) == (container.id, container.created_at)
    assert container.id in [each.id for each in client.containers.list(limit=2)]
    client.containers.delete(container.id)
    with pytest.raises(openai.NotFoundError) as caught:
        client.containers.retrieve(container.id)
    assert caught.value.body["message"] == f"Container with id '{container.id}' not found."


def test_files_can_be_uploaded_copied_and_downloaded(client: OpenAI) -> None:
    file = client.files.create(file=("copied.csv", b"1,2"), purpose="assistants")
    container = client.containers.create(name="c", file_ids=[file.id])
    uploaded = client.containers.files.create(container.id, file=("up.csv", b"3,4"))
    assert (uploaded.object, uploaded.path, uploaded.bytes, uploaded.source) == (
        "container.file",
        "/mnt/data/up.csv",
        3,
        "user",
    )
    again = client.containers.files.create(container.id, file_id=file.id)
    client.files.delete(file.id)
    listed = {each.path: each for each in client.containers.files.list(container.id, limit=1)}
    assert set(listed) == {"/mnt/data/up.csv", "/mnt/data/copied.csv"}
    assert listed["/mnt/data/copied.csv"].id == again.id
    retrieved = client.containers.files.retrieve(uploaded.id, container_id=container.id)
    assert retrieved.model_dump() == listed["/mnt/data/up.csv"].model_dump() == uploaded.model_dump()
    read = client.containers.files.content.retrieve
    assert read(again.id, container_id=container.id).read() == b"1,2"
    client.containers.files.delete(uploaded.id, container_id=container.id)
    with pytest.raises(openai.NotFoundError):
        read(uploaded.id, container_id=container.id)
    client.containers.delete(container.id)


def test_what_is_not_served_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="have no network"):
        client.containers.create(
            name="c", extra_body={"network_policy": {"type": "allowlist", "allowed_domains": ["x.org"]}}
        )


async def test_uploads_at_once_all_arrive(async_client: AsyncOpenAI) -> None:
    container = await async_client.containers.create(name="c")
    upload = async_client.containers.files.create
    made = await asyncio.gather(*(upload(container.id, file=(f"{n}.txt", b"x" * n)) for n in range(10)))
    listed = [each async for each in async_client.containers.files.list(container.id, order="asc")]
    assert sorted(each.id for each in listed) == sorted(each.id for each in made)
    await async_client.containers.delete(container.id)
