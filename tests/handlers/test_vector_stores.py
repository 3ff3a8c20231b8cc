import asyncio
import json
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from handlers import files, vector_store_file_batches, vector_store_files, vector_stores
from handlers.errors import BadRequest, NotFound
from persistence.retry import update_with_retry
from persistence.store import Delete, Document, Replace
from persistence.types import JSON
from tests.fixtures.pages import PAGE
from tests.fixtures.refusals import refused
from tests.inference.parsing import documents
from tests.inference.retrieval.library import Library, library_at, until
from tests.provider import ProviderProcess

WORDS = "The lighthouse keeper wrote about the harbour, its ships and the winter storms. "


async def create(library: Library, **body: Any) -> JSON:
    return await vector_stores.create_vector_store(library.context(), body)


async def batch_of(library: Library, store: JSON, **body: Any) -> JSON:
    return await vector_store_file_batches.create_vector_store_file_batch(
        library.context(), store["id"], body
    )


async def batch_settled(library: Library, batch: JSON) -> JSON:
    async def settled() -> JSON | None:
        fresh = await vector_store_file_batches.get_vector_store_file_batch(
            library.context(), batch["vector_store_id"], batch["id"]
        )
        return None if fresh["file_counts"]["in_progress"] else fresh

    return await until(settled)


async def listed(library: Library, store: JSON, **query: Any) -> list[str]:
    page = await vector_store_files.list_vector_store_files(
        library.context(), store["id"], **{**PAGE, **query}
    )
    return [file["id"] for file in page["data"]]


def counts(**numbers: int) -> dict[str, int]:
    statuses = dict.fromkeys(("in_progress", "completed", "failed", "cancelled"), 0)
    return {**statuses, **numbers, "total": sum(numbers.values())}


# --- stores ---


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


# --- files of stores ---


async def test_a_file_can_be_in_many_stores_with_attributes_of_its_own(library: Library) -> None:
    file = await library.file(WORDS)
    first, second = await create(library), await create(library)
    await library.attach(first["id"], file["id"], attributes={"year": 2020})
    await library.attach(second["id"], file["id"], attributes={"year": 2021})
    for store, year in ((first, 2020), (second, 2021)):
        await library.settled(store["id"])
        [found] = await library.search(store["id"], "storms")
        assert found["attributes"] == {"year": year}


async def test_static_chunking_is_kept_and_followed(library: Library) -> None:
    static = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}}
    file = await library.ingest(WORDS * 50, "long.txt", chunking_strategy=static)
    assert file["chunking_strategy"] == static
    chunks = await library.store.read_chunks("p", file["vector_store_id"], file["id"])
    assert len(chunks) > 10
    static["static"]["chunk_overlap_tokens"] = 51  # type: ignore[index]
    error = await refused(library.attach(file["vector_store_id"], file["id"], chunking_strategy=static))
    assert (error.status, error.param) == (400, "chunking_strategy.static.chunk_overlap_tokens")


async def test_a_file_is_detached_with_its_chunks_and_the_counts_follow(library: Library) -> None:
    store = await library.vector_store("About storms.", "About ships.")
    kept, gone = await listed(library, store, order="asc")
    answer = await vector_store_files.delete_vector_store_file(library.context(), store["id"], gone)
    assert answer == {"id": gone, "object": "vector_store.file.deleted", "deleted": True}
    fresh = await vector_stores.get_vector_store(library.context(), store["id"])
    assert fresh["file_counts"] == counts(completed=1)
    assert fresh["usage_bytes"] == len("About storms.") + 4 * 64
    assert await listed(library, store) == [kept]
    assert await library.store.read_chunks("p", store["id"], gone) == []
    error = await refused(vector_store_files.get_vector_store_file(library.context(), store["id"], gone))
    assert error.message == f"No file found with id '{gone}' in vector store '{store['id']}'."
    assert (await files.retrieve_file(library.context(), gone))["id"] == gone


async def test_a_deleted_file_leaves_every_store(library: Library) -> None:
    file = await library.file("About storms.")
    stores = [await create(library, file_ids=[file["id"]]) for _ in range(3)]
    for store in stores:
        await library.settled(store["id"])
    await files.delete_file(library.context(), file["id"])
    for store in stores:
        fresh = await vector_stores.get_vector_store(library.context(), store["id"])
        assert (fresh["file_counts"], fresh["usage_bytes"]) == (counts(), 0)
        assert await listed(library, store) == []
        assert await library.search(store["id"], "storms") == []


async def test_a_file_that_is_deleted_before_its_turn_is_taken_out(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    async with library_at(tmp_path, provider.url, start=False) as library:
        before = library.census()
        file = await library.file("About storms.")
        store = await create(library)
        await library.attach(store["id"], file["id"])
        document = await library.retrieval.files.get("p", file["id"])
        await library.store.write(Delete(document))
        await library.store.delete_content("p", document.state["content"])
        await library.begin()

        async def taken_out() -> bool:
            fresh = await vector_stores.get_vector_store(library.context(), store["id"])
            return fresh["file_counts"] == counts() and not library.queued("ingest")

        await until(taken_out)
        await vector_stores.delete_vector_store(library.context(), store["id"])

        async def cleared() -> bool:
            return library.census() == before

        await until(cleared)


async def test_attributes_are_changed_for_searches_to_come(library: Library) -> None:
    store = await library.vector_store("About storms.")
    [file] = await listed(library, store)
    wanted = {"type": "eq", "key": "year", "value": 2020}
    assert await library.search(store["id"], "storms", filters=wanted) == []
    updated = await vector_store_files.update_vector_store_file_attributes(
        library.context(), store["id"], file, {"attributes": {"year": 2020, "final": True}}
    )
    assert updated["attributes"] == {"year": 2020, "final": True}
    [found] = await library.search(store["id"], "storms", filters=wanted)
    assert found["attributes"] == {"year": 2020, "final": True}


async def test_the_text_of_a_file_is_shown_once_it_was_ingested(library: Library) -> None:
    text = documents.word("First paragraph.", "Second paragraph.")
    file = await library.ingest(text, "a.docx")
    content = vector_store_files.retrieve_vector_store_file_content
    page = await content(library.context(), file["vector_store_id"], file["id"])
    assert page == {
        "object": "vector_store.file_content.page",
        "data": [{"type": "text", "text": "First paragraph.\nSecond paragraph.\n"}],
        "has_more": False,
        "next_page": None,
    }
    broken = await library.ingest(b"\0", "a.txt")
    assert (await content(library.context(), broken["vector_store_id"], broken["id"]))["data"] == []


async def test_a_file_that_is_attached_again_is_ingested_anew(library: Library) -> None:
    file = await library.ingest(WORDS * 100, "long.txt")
    small = {"type": "static", "static": {"max_chunk_size_tokens": 4096, "chunk_overlap_tokens": 0}}
    before = await library.store.read_chunks("p", file["vector_store_id"], file["id"])
    await library.attach(file["vector_store_id"], file["id"], chunking_strategy=small, attributes={"a": 1})
    store = await library.settled(file["vector_store_id"])
    assert store["file_counts"] == counts(completed=1)
    after = await library.store.read_chunks("p", file["vector_store_id"], file["id"])
    assert (len(before) > 1, len(after)) == (True, 1)
    again = await vector_store_files.get_vector_store_file(library.context(), store["id"], file["id"])
    assert (again["attributes"], store["usage_bytes"]) == ({"a": 1}, again["usage_bytes"])


async def test_counts_are_right_when_many_files_come_and_go_at_once(library: Library) -> None:
    store = await create(library)
    ids = [(await library.file(f"Text number {n}."))["id"] for n in range(40)]
    await asyncio.gather(*(library.attach(store["id"], file) for file in ids))
    await asyncio.gather(
        *(
            vector_store_files.delete_vector_store_file(library.context(), store["id"], file)
            for file in ids[::4]
        )
    )
    fresh = await library.settled(store["id"])
    assert fresh["file_counts"] == counts(completed=30)
    assert fresh["usage_bytes"] == sum(
        [
            (await vector_store_files.get_vector_store_file(library.context(), store["id"], file))[
                "usage_bytes"
            ]
            for file in ids
            if file not in ids[::4]
        ]
    )


async def test_the_order_of_vectors_is_the_order_of_chunks(library: Library) -> None:
    static = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}
    random = Random(7)
    text = " ".join(f"{random.randrange(100_000):x}" for _ in range(50_000))
    file = await library.ingest(text, "long.txt", chunking_strategy=static)
    chunks = []
    while batch := await library.store.read_chunks(
        "p", file["vector_store_id"], file["id"], after=len(chunks) - 1, limit=500
    ):
        chunks += batch
    assert len(chunks) >= 1000
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    texts = [chunk.text for chunk in chunks]
    assert "".join(texts) == text
    for start in range(0, len(texts), 97):
        answer = await library.gateway.embed({"model": "embed", "input": [texts[start]]})
        [best, *_] = await library.store.search_vectors(
            "p", file["vector_store_id"], answer["data"][0]["embedding"], 1
        )
        assert best.text == texts[start]
        assert best.score == pytest.approx(1, abs=1e-3)


# --- failures of the embedding provider ---


async def test_a_provider_that_fails_for_a_while_only_delays_the_file(library: Library) -> None:
    script = json.dumps({"tag": "embed-twice", "turns": [{"fail": {"status": 500, "times": 2}}]})
    file = await library.ingest(f"storms script: {script}", "a.txt")
    assert (file["status"], file["last_error"]) == ("completed", None)


async def test_a_provider_that_refuses_the_text_fails_the_file_with_its_reason(library: Library) -> None:
    failure = {"status": 400, "message": "this text is not for us"}
    script = json.dumps({"tag": "embed-never", "turns": [{"fail": failure}]})
    file = await library.ingest(f"storms script: {script}", "a.txt")
    assert (file["status"], file["last_error"]["code"]) == ("failed", "server_error")
    assert "this text is not for us" in file["last_error"]["message"]
    assert await library.store.read_chunks("p", file["vector_store_id"], file["id"]) == []


async def test_a_provider_that_never_answers_is_given_up(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.retrieval.ingestion.BACKOFF", 0.01)
    script = json.dumps({"tag": "embed-broken", "turns": [{"fail": {"status": 503}}]})
    file = await library.ingest(f"storms script: {script}", "a.txt")
    assert (file["status"], file["last_error"]["code"]) == ("failed", "server_error")
    assert library.queued("ingest") == []


# --- batches ---


async def test_a_batch_shares_or_gives_attributes_and_chunking(library: Library) -> None:
    store = await create(library)
    ids = [(await library.file(f"Text {n}"))["id"] for n in range(3)]
    static = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 0}}
    shared = await batch_of(
        library, store, file_ids=ids[:2], attributes={"kind": "shared"}, chunking_strategy=static
    )
    assert (shared["object"], shared["status"]) == ("vector_store.files_batch", "in_progress")
    assert shared["file_counts"] == counts(in_progress=2)
    own = await batch_of(library, store, files=[{"file_id": ids[2], "attributes": {"kind": "own"}}])
    assert (await batch_settled(library, shared))["status"] == "completed"
    assert (await batch_settled(library, own))["file_counts"] == counts(completed=1)
    page = await vector_store_file_batches.list_files_in_vector_store_batch(
        library.context(), store["id"], shared["id"], limit=20, order="asc", filter="completed"
    )
    assert sorted(file["id"] for file in page["data"]) == sorted(ids[:2])
    assert {file["attributes"]["kind"] for file in page["data"]} == {"shared"}
    assert page["data"][0]["chunking_strategy"] == static
    [alone] = (
        await vector_store_file_batches.list_files_in_vector_store_batch(
            library.context(), store["id"], own["id"], **PAGE
        )
    )["data"]
    assert alone["attributes"] == {"kind": "own"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "file_ids"),
        ({"file_ids": ["a"], "files": [{"file_id": "a"}]}, "files"),
        ({"file_ids": ["file-unknown"]}, "file_ids[0]"),
        ({"files": [{"file_id": "file-unknown"}]}, "files[0].file_id"),
    ],
)
async def test_a_wrong_batch_names_the_field_and_writes_nothing(
    library: Library, body: JSON, param: str
) -> None:
    store = await create(library)
    before = library.census()
    error = await refused(batch_of(library, store, **body))
    assert error.status == (404 if param.endswith(("[0]", "file_id")) else 400)
    assert error.param == param
    assert library.census() == before


async def test_a_cancelled_batch_ingests_no_more(tmp_path: Path, provider: ProviderProcess) -> None:
    async with library_at(tmp_path, provider.url, start=False) as library:
        ids = [(await library.file(WORDS * 50))["id"] for _ in range(250)]
        store = await create(library)
        batch = await batch_of(library, store, file_ids=ids)
        cancelled = await vector_store_file_batches.cancel_vector_store_file_batch(
            library.context(), store["id"], batch["id"]
        )
        assert cancelled["status"] == "cancelled"
        assert cancelled["file_counts"] == counts(cancelled=250)
        fresh = await vector_stores.get_vector_store(library.context(), store["id"])
        assert (fresh["status"], fresh["file_counts"]) == ("completed", counts(cancelled=250))
        await library.begin()

        async def done() -> bool:
            return not library.queued("ingest")

        await until(done)
        assert len(await listed(library, store, filter="cancelled", limit=100)) == 100
        assert await library.search(store["id"], "storms") == []


async def test_a_file_that_is_taken_over_by_another_batch_does_not_hold_up_the_first(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    async with library_at(tmp_path, provider.url, start=False) as library:
        file = await library.file(WORDS)
        store = await create(library)
        first = await batch_of(library, store, file_ids=[file["id"]])
        second = await batch_of(library, store, file_ids=[file["id"]])
        await library.begin()
        assert (await batch_settled(library, second))["file_counts"] == counts(completed=1)
        assert (await batch_settled(library, first))["file_counts"] == counts(cancelled=1)
        fresh = await library.settled(store["id"])
        assert fresh["file_counts"] == counts(completed=1)


async def test_a_batch_of_another_store_is_not_there(library: Library) -> None:
    store, other = await create(library), await create(library)
    batch = await batch_of(library, store, file_ids=[(await library.file("x"))["id"]])
    for call in (
        vector_store_file_batches.get_vector_store_file_batch,
        vector_store_file_batches.cancel_vector_store_file_batch,
        vector_store_file_batches.list_files_in_vector_store_batch,
    ):
        error = await refused(call(library.context(), other["id"], batch["id"]))
        assert isinstance(error, NotFound)


# --- search ---


async def test_search_finds_the_best_chunk_first_and_answers_openais_page(library: Library) -> None:
    store = await library.vector_store("All about winter storms.", "All about summer ships.", "Recipes.")
    page = await vector_stores.search_vector_store(
        library.context(), store["id"], {"query": "winter storms", "max_num_results": 2}
    )
    assert {key: page[key] for key in page if key != "data"} == {
        "object": "vector_store.search_results.page",
        "search_query": ["winter storms"],
        "has_more": False,
        "next_page": None,
    }
    best, second = page["data"]
    assert best["content"] == [{"type": "text", "text": "All about winter storms."}]
    assert best["filename"] == "0.txt"
    assert 1 >= best["score"] > second["score"] >= 0


async def test_several_queries_are_searched_together(library: Library) -> None:
    store = await library.vector_store("All about winter storms.", "All about summer ships.", "Recipes.")
    found = await library.search(store["id"], ["storms", "ships"])
    assert {item["filename"] for item in found[:2]} == {"0.txt", "1.txt"}


async def test_a_rewritten_query_is_told(library: Library) -> None:
    store = await library.vector_store("All about winter storms.")
    page = await vector_stores.search_vector_store(
        library.context(),
        store["id"],
        {"query": "What can you tell me about the winter storms?", "rewrite_query": True},
    )
    assert page["search_query"] == ["winter storms"]
    assert len(page["data"]) == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": []}, "query"),
        ({"query": ["ships", "  "]}, "query"),
        ({"query": "x", "filters": {"type": "gt", "key": "a", "value": True}}, "filters.value"),
    ],
)
async def test_a_wrong_search_names_the_field(library: Library, body: JSON, param: str) -> None:
    store = await create(library)
    error = await refused(vector_stores.search_vector_store(library.context(), store["id"], body))
    assert isinstance(error, BadRequest)
    assert error.param == param


async def test_filters_apply_before_the_cut(library: Library) -> None:
    store = await create(library)
    ids = [(await library.file("All about storms."))["id"] for _ in range(30)]
    await batch_of(
        library, store, files=[{"file_id": id, "attributes": {"number": n}} for n, id in enumerate(ids)]
    )
    await library.settled(store["id"])
    found = await library.search(
        store["id"],
        "storms",
        max_num_results=3,
        filters={"type": "gte", "key": "number", "value": 28},
    )
    assert sorted(item["attributes"]["number"] for item in found) == [28, 29]


async def test_without_an_embedding_model_search_is_by_words(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    async with library_at(tmp_path, provider.url, embedding_model=None) as library:
        assert library.retrieval.describe() == {"search": "bm25", "embedding_model": None}
        store = await library.vector_store("All about winter storms.", "Recipes.")
        [found] = await library.search(store["id"], "storms")
        assert found["filename"] == "0.txt"


async def test_a_store_is_only_searched_with_the_model_that_it_was_made_with(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    async with library_at(tmp_path, provider.url, embedding_model="embed-a") as library:
        store = await library.vector_store("All about winter storms.")
    async with library_at(tmp_path, provider.url, embedding_model="embed-b") as library:
        asked = []
        embed = library.gateway.embed

        async def noted(request: JSON) -> JSON:
            asked.append(request["model"])
            return await embed(request)

        library.gateway.embed = noted  # type: ignore[method-assign,assignment]
        assert len(await library.search(store["id"], "storms")) == 1
        await library.attach(store["id"], (await library.file("More storms."))["id"])
        await library.settled(store["id"])
        assert asked == ["embed-a", "embed-a"]
        newer = await library.vector_store("Ships.")
        await library.search(newer["id"], "ships")
        assert asked[2:] == ["embed-b", "embed-b"]
