from pathlib import Path

import pytest

from handlers import vector_store_file_batches, vector_stores
from handlers.errors import NotFound
from persistence.types import JSON
from tests.fixtures.pages import PAGE
from tests.fixtures.refusals import refused
from tests.handlers.vector_stores import WORDS, batch_of, batch_settled, counts, create, listed
from tests.inference.retrieval.library import Library, library_at, until
from tests.provider import ProviderProcess


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
