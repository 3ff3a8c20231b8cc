from pathlib import Path

import pytest

from handlers import vector_stores
from handlers.errors import BadRequest
from persistence.types import JSON
from tests.fixtures.refusals import refused
from tests.handlers.vector_stores import batch_of, create
from tests.inference.retrieval.library import Library, library_at
from tests.provider import ProviderProcess


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

        async def noted(request: JSON, *arguments: object) -> JSON:
            asked.append(request["model"])
            return await embed(request, *arguments)

        library.gateway.embed = noted  # type: ignore[method-assign,assignment]
        assert len(await library.search(store["id"], "storms")) == 1
        await library.attach(store["id"], (await library.file("More storms."))["id"])
        await library.settled(store["id"])
        assert asked == ["embed-a", "embed-a"]
        newer = await library.vector_store("Ships.")
        await library.search(newer["id"], "ships")
        assert asked[2:] == ["embed-b", "embed-b"]
