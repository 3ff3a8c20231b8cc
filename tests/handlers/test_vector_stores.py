import asyncio
import time

import pytest

from handlers import vector_store_files, vector_stores
from handlers.errors import NotFound
from persistence.retry import update_with_retry
from persistence.store import Document, Replace
from persistence.types import JSON
from tests.fixtures.refusals import refused
from tests.handlers.vector_stores import WORDS, batch_of, batch_settled, counts, create, listed
from tests.inference.retrieval.library import Library, until


async def test_a_new_store_is_empty_and_complete(library: Library) -> None:
    store = await create(library, name="Books", metadata={"shelf": "3"}, description="All of them")
    now = store["created_at"]
    assert store == {
        "id": store["id"],
        "object": "vector_store",
        "created_at": now,
        "name": "Books",
        "description": "All of them",
        "usage_bytes": 0,
        "file_counts": counts(),
        "status": "completed",
        "expires_after": None,
        "expires_at": None,
        "last_active_at": now,
        "metadata": {"shelf": "3"},
    }
    assert await vector_stores.get_vector_store(library.context(), store["id"]) == store


async def test_a_store_is_modified_field_by_field(library: Library) -> None:
    store = await create(library, name="Books", metadata={"a": "1"})
    modify = vector_stores.modify_vector_store
    renamed = await modify(library.context(), store["id"], {"name": "Maps"})
    assert renamed == {**store, "name": "Maps"}
    timed = await modify(
        library.context(), store["id"], {"expires_after": {"anchor": "last_active_at", "days": 2}}
    )
    assert timed["expires_at"] == timed["last_active_at"] + 2 * 86_400
    assert [job["due"] for job in library.queued("expire")] == [timed["expires_at"]]
    bare = await modify(library.context(), store["id"], {"name": None, "expires_after": None, "metadata": {}})
    assert (bare["name"], bare["expires_after"], bare["expires_at"], bare["metadata"]) == (
        "",
        None,
        None,
        {},
    )
    assert library.queued("expire") == []


async def test_the_name_of_a_store_that_has_none_is_empty(library: Library) -> None:
    assert (await create(library))["name"] == ""


async def test_stores_are_listed_in_order_of_creation(library: Library) -> None:
    ids = [(await create(library))["id"] for _ in range(5)]
    page = await vector_stores.list_vector_stores(library.context(), limit=2, order="asc", after=ids[1])
    assert [store["id"] for store in page["data"]] == ids[2:4]
    assert page["has_more"]


async def test_a_cursor_of_files_is_told_as_the_caller_gave_it_and_an_empty_one_is_none(
    library: Library,
) -> None:
    store = await library.vector_store(WORDS, "Another text.")
    assert len(await listed(library, store, after="", before="")) == 2
    for cursor in ({"after": "file-strange"}, {"before": "file-strange"}):
        error = await refused(listed(library, store, **cursor))
        (param,) = cursor
        assert (error.param, error.message) == (
            param,
            f"Invalid '{param}': no object with id 'file-strange' is in this list.",
        )


async def test_files_of_a_new_store_are_ingested_and_counted(library: Library) -> None:
    store = await library.vector_store(WORDS, b"\xff\xfe\x00\xd8", "Another text.")
    assert store["status"] == "completed"
    assert store["file_counts"] == counts(completed=2, failed=1)
    assert store["usage_bytes"] > len(WORDS)
    page = await vector_store_files.list_vector_store_files(
        library.context(), store["id"], limit=20, order="asc"
    )
    first, broken, _ = page["data"]
    assert first == {
        "id": first["id"],
        "object": "vector_store.file",
        "usage_bytes": len(WORDS) + 4 * 64,
        "created_at": first["created_at"],
        "vector_store_id": store["id"],
        "status": "completed",
        "last_error": None,
        "chunking_strategy": {
            "type": "static",
            "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400},
        },
        "attributes": {},
    }
    assert broken["status"] == "failed"
    assert broken["last_error"]["code"] == "invalid_file"
    assert "UTF-8" in broken["last_error"]["message"]
    for status, number in (("completed", 2), ("failed", 1), ("in_progress", 0), ("cancelled", 0)):
        assert len(await listed(library, store, filter=status)) == number
    assert await listed(library, store, order="asc", after=first["id"]) == [
        file["id"] for file in page["data"][1:]
    ]


async def test_a_store_with_a_file_that_is_not_there_is_not_made(library: Library) -> None:
    file = await library.file("text")
    foreign = await library.file("text", project="other")
    before = library.census()
    for missing in ("file-unknown", foreign["id"]):
        error = await refused(create(library, file_ids=[file["id"], missing]))
        assert isinstance(error, NotFound)
        assert (error.message, error.param) == (f"No such File object: {missing}", "file_ids[1]")
    assert library.census() == before


@pytest.mark.parametrize("name", ["get_vector_store", "delete_vector_store"])
async def test_another_projects_store_is_not_there(library: Library, name: str) -> None:
    store = await create(library)
    error = await refused(getattr(vector_stores, name)(library.context("other"), store["id"]))
    assert (error.status, error.message) == (404, f"No vector store found with id '{store['id']}'.")


async def test_a_deleted_store_leaves_its_files_and_nothing_else(library: Library) -> None:
    ids = [(await library.file(WORDS))["id"] for _ in range(3)]
    before = library.census()
    store = await create(library, file_ids=ids[:1], expires_after={"anchor": "last_active_at", "days": 1})
    batch = await batch_of(library, store, file_ids=ids)
    await batch_settled(library, batch)
    answer = await vector_stores.delete_vector_store(library.context(), store["id"])
    assert answer == {"id": store["id"], "object": "vector_store.deleted", "deleted": True}
    assert isinstance(await refused(library.search(store["id"], "storms")), NotFound)

    async def cleared() -> bool:
        return library.census() == before

    await until(cleared)


async def test_a_store_that_is_deleted_while_it_ingests_leaves_nothing(library: Library) -> None:
    ids = [(await library.file(WORDS * 500))["id"] for _ in range(12)]
    before = library.census()
    for pause in (0, 0.02, 0.1, 0.3):
        store = await create(library, file_ids=ids)
        await asyncio.sleep(pause)
        await vector_stores.delete_vector_store(library.context(), store["id"])

    async def cleared() -> bool:
        return library.census() == before

    await until(cleared)


async def test_a_store_expires_with_its_chunks_and_keeps_the_list_of_its_files(library: Library) -> None:
    store = await library.vector_store(WORDS, expires_after={"anchor": "last_active_at", "days": 1})
    [job] = library.queued("expire")
    assert job["due"] == store["expires_at"] == store["last_active_at"] + 86_400
    # As if a day had gone by.
    key = (await library.retrieval.vector_stores.get("p", store["id"])).key
    past = int(time.time()) - 10
    await update_with_retry(
        library.store, key, lambda document: _replaced(document, {**document.value, "expires_at": past})
    )
    assert (await vector_stores.get_vector_store(library.context(), store["id"]))["status"] == "expired"
    await library.hasten("expire")

    async def expired() -> bool:
        return library.census()["vector_stores"] == 0 and not library.queued("expire")

    await until(expired)
    assert len(await listed(library, store)) == 1
    file = await library.file("more")
    for call in (library.search(store["id"], "storms"), library.attach(store["id"], file["id"])):
        error = await refused(call)
        assert (error.status, error.message) == (400, f"Vector store '{store['id']}' has expired.")


async def test_a_store_that_is_used_lives_on(library: Library) -> None:
    store = await library.vector_store(WORDS, expires_after={"anchor": "last_active_at", "days": 1})
    key = (await library.retrieval.vector_stores.get("p", store["id"])).key
    earlier = store["last_active_at"] - 3600
    await update_with_retry(
        library.store,
        key,
        lambda document: _replaced(
            document, {**document.value, "last_active_at": earlier, "expires_at": earlier + 86_400}
        ),
    )
    await library.search(store["id"], "storms")
    fresh = await vector_stores.get_vector_store(library.context(), store["id"])
    assert fresh["last_active_at"] >= store["last_active_at"]
    assert fresh["expires_at"] == fresh["last_active_at"] + 86_400
    await library.hasten("expire")

    async def put_off() -> bool:
        return [job["due"] for job in library.queued("expire")] == [fresh["expires_at"]]

    await until(put_off)


def _replaced(document: Document, value: JSON) -> Replace:
    return Replace(document, value=value)
