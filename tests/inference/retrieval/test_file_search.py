import asyncio
import json
from typing import Any

import pytest

from handlers import vector_stores
from inference import tokens
from inference.engine.citations import CitationReader
from inference.engine.items import Call, GrowingText
from inference.engine.tools import Toolbox, ToolContext
from inference.retrieval.errors import RequestRefused
from inference.retrieval.file_search import FileSearch, FileSearchType
from persistence.retry import update_with_retry
from persistence.store import Key, Replace
from persistence.types import JSON
from tests.inference.retrieval.library import Library

STORMS = "All about winter storms. They break the harbour's wall."
SHIPS = "All about summer ships. They sail to the islands."


async def tool_of(
    library: Library, *stores: str, window: int = 100_000, results: tuple[Any, ...] = (), **options: Any
) -> FileSearch:
    resources = tuple({"file_search": {"vector_store_ids": [store]}} for store in stores)
    entry = {"type": "file_search", "file_search": options}
    tool = await FileSearchType(library.retrieval, lambda _: window).make(
        ToolContext("p", "run_1", "m", entry, ({}, *resources), results)
    )
    assert isinstance(tool, FileSearch)
    return tool


def call(arguments: str) -> Call:
    return Call("fc_1", "file_search_call", "call_1", "file_search", GrowingText(arguments))


def ignore(phase: str, data: JSON) -> None:
    """Take progress that no test looks at."""


def annotations(tool: FileSearch, text: str) -> list[JSON]:
    """Read a text as the engine does."""
    reader = CitationReader(Toolbox([("file_search", tool)]))
    return [each for _, found in (*reader.read(text), *reader.end()) for each in found]


def asked(*queries: str) -> str:
    return json.dumps({"queries": queries})


async def test_the_stores_of_assistant_and_thread_are_searched_together(library: Library) -> None:
    first, second = await library.vector_store(STORMS), await library.vector_store(SHIPS)
    tool = await tool_of(library, first["id"], second["id"], first["id"])
    result = await tool.run(call(asked("winter storms", "summer ships")), ignore)
    assert result.details["ranking_options"] == {"ranker": "default_2024_08_21", "score_threshold": 0.0}
    texts = [item["content"][0]["text"] for item in result.details["results"]]
    assert sorted(texts) == sorted([STORMS, SHIPS])
    for number, item in enumerate(result.details["results"]):
        assert f"【0:{number}†{item['file_name']}】\n{texts[number]}" in result.output
        assert 0 <= item["score"] <= 1


async def test_an_answer_cites_what_was_found_with_a_quote_that_the_file_holds(library: Library) -> None:
    store = await library.vector_store(STORMS)
    tool = await tool_of(library, store["id"])
    result = await tool.run(call(asked("storms")), ignore)
    [found] = result.details["results"]
    text = "The wall of the harbour is broken by storms【0:0†0.txt】."
    [annotation] = annotations(tool, text)
    assert text[annotation["start_index"] : annotation["end_index"]] == "【0:0†0.txt】"
    assert annotation["file_citation"] == {
        "file_id": found["file_id"],
        "quote": "They break the harbour's wall.",
    }
    assert annotation["file_citation"]["quote"] in STORMS


async def test_marks_of_a_leg_before_are_still_known(library: Library) -> None:
    store = await library.vector_store(STORMS)
    before = await (await tool_of(library, store["id"])).run(call(asked("storms")), ignore)
    tool = await tool_of(library, store["id"], results=(before.details,))
    again = await tool.run(call(asked("walls")), ignore)
    assert "【1:0†0.txt】" in again.output
    assert len(annotations(tool, "【0:0†0.txt】【1:0†0.txt】")) == 2


async def test_a_file_that_is_still_ingested_is_waited_for(library: Library) -> None:
    created = await vector_stores.create_vector_store(
        library.context(), {"file_ids": [(await library.file(STORMS))["id"]]}
    )
    result = await (await tool_of(library, created["id"])).run(call(asked("storms")), ignore)
    assert len(result.details["results"]) == 1


async def test_options_of_the_tool_are_followed(library: Library) -> None:
    store = await library.vector_store(STORMS, SHIPS)
    one = await tool_of(library, store["id"], max_num_results=1)
    assert len((await one.run(call(asked("all about")), ignore)).details["results"]) == 1
    strict = await tool_of(library, store["id"], ranking_options={"score_threshold": 0.99})
    nothing = await strict.run(call(asked("storms")), ignore)
    assert nothing.details["ranking_options"]["score_threshold"] == 0.99
    assert (nothing.details["results"], nothing.output) == ([], "Nothing was found in the files.")


async def test_results_fit_into_a_third_of_the_models_window(library: Library) -> None:
    store = await library.vector_store(*(f"{n} storms " + "and wind " * 600 for n in range(5)))
    small = await (await tool_of(library, store["id"], window=600)).run(call(asked("storms")), ignore)
    assert tokens.count(small.output) <= 210
    assert len(small.details["results"]) == 1
    larger = await (await tool_of(library, store["id"], window=6000)).run(call(asked("storms")), ignore)
    assert 1 < len(larger.details["results"]) < 5


@pytest.mark.parametrize(
    "arguments", ["", "{", "[]", "{}", '{"queries": []}', '{"queries": [1]}', '{"queries": [" "]}']
)
async def test_arguments_that_are_no_queries_are_told_to_the_model(library: Library, arguments: str) -> None:
    store = await library.vector_store(STORMS)
    result = await (await tool_of(library, store["id"])).run(call(arguments), ignore)
    assert result.output.startswith("The search failed: The ")
    assert result.details["results"] == []


async def test_a_query_as_a_plain_string_is_understood(library: Library) -> None:
    store = await library.vector_store(STORMS)
    result = await (await tool_of(library, store["id"])).run(call('{"query": "storms"}'), ignore)
    assert len(result.details["results"]) == 1


async def test_a_store_that_is_gone_is_told_to_the_model(library: Library) -> None:
    store = await library.vector_store(STORMS)
    tool = await tool_of(library, store["id"])
    await vector_stores.delete_vector_store(library.context(), store["id"])
    result = await tool.run(call(asked("storms")), ignore)
    assert store["id"] in result.output


async def test_attachments_go_into_one_store_that_expires_a_week_after_its_use(library: Library) -> None:
    first, second = await library.file(STORMS), await library.file(SHIPS)
    store = await library.retrieval.attach_files("p", None, [first["id"]])
    assert await library.retrieval.attach_files("p", store, [second["id"]]) == store
    value = await library.settled(store)
    assert value["expires_after"] == {"anchor": "last_active_at", "days": 7}
    assert value["file_counts"]["completed"] == 2
    before = await library.store.get(Key("p", "vector_store_files", f"{store}:{first['id']}"))
    await library.retrieval.attach_files("p", store, [first["id"]])
    after = await library.store.get(Key("p", "vector_store_files", f"{store}:{first['id']}"))
    assert after == before  # what is in the store already is not ingested again
    await vector_stores.delete_vector_store(library.context(), store)
    assert await library.retrieval.attach_files("p", store, [second["id"]]) != store


async def test_a_file_that_could_not_be_read_is_named_to_the_model(library: Library) -> None:
    broken = await library.file(b"PK broken", "report.docx")
    store = await vector_stores.create_vector_store(library.context(), {"file_ids": [broken["id"]]})
    await library.settled(store["id"])
    result = await (await tool_of(library, store["id"])).run(call(asked("storms")), ignore)
    assert "The file report.docx could not be read and was not searched" in result.output
    assert "Nothing was found" not in result.output


async def test_a_store_that_is_gone_does_not_keep_the_others_from_being_searched(library: Library) -> None:
    gone, kept = await library.vector_store(SHIPS), await library.vector_store(STORMS)
    tool = await tool_of(library, gone["id"], kept["id"])
    await vector_stores.delete_vector_store(library.context(), gone["id"])
    result = await tool.run(call(asked("winter storms")), ignore)
    assert len(result.details["results"]) == 1
    assert f"The vector store {gone['id']} was deleted and was not searched." in result.output


async def test_calls_side_by_side_have_marks_of_their_own(library: Library) -> None:
    store = await library.vector_store(STORMS)
    tool = await tool_of(library, store["id"])
    first, second = await asyncio.gather(
        tool.run(call(asked("storms")), ignore), tool.run(call(asked("walls")), ignore)
    )
    assert ("【0:0†" in first.output, "【1:0†" in second.output) == (True, True)


async def test_a_store_that_has_expired_ends_the_run_and_is_named(library: Library) -> None:
    store = await library.vector_store(STORMS, expires_after={"anchor": "last_active_at", "days": 1})
    key = Key("p", "vector_stores", store["id"])
    await update_with_retry(
        library.store,
        key,
        lambda found: Replace(found, value={**found.value, "expires_at": 1, "last_active_at": 0}),
    )
    with pytest.raises(RequestRefused, match=f"Vector store '{store['id']}' has expired"):
        await tool_of(library, store["id"])
