import asyncio
import json
from pathlib import Path
from random import Random

import pytest

from handlers import files, vector_store_files, vector_stores
from persistence.store import Delete
from tests.fixtures.refusals import refused
from tests.handlers.vector_stores import WORDS, counts, create, listed
from tests.inference.parsing import documents
from tests.inference.retrieval.library import Library, library_at, until
from tests.provider import ProviderProcess


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
