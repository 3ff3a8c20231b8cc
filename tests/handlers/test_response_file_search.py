"""file_search in responses: the same retrieval as in runs, as items and annotations."""

import json
from typing import Any

import openai
import pytest

from persistence.types import JSON
from tests.server import Server

pytestmark = pytest.mark.server

STORMS = "All about winter storms. They break the harbour's wall."
SHIPS = "All about summer ships. They sail to the islands."


@pytest.fixture
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url, api_key="any", max_retries=0)


@pytest.fixture
def store(client: openai.OpenAI) -> str:
    store = client.vector_stores.create()
    for name, text, season in (("storms.txt", STORMS, "winter"), ("ships.txt", SHIPS, "summer")):
        file = client.files.create(file=(name, text.encode()), purpose="assistants")
        client.vector_stores.files.create_and_poll(
            file.id, vector_store_id=store.id, attributes={"season": season}
        )
    return store.id


def asked(*queries: str, text: str = "It is so{find:【0:0†[^】]*】}, they say.") -> str:
    turns = [{"calls": [{"name": "file_search", "arguments": {"queries": queries}}]}, {"text": text}]
    return "script: " + json.dumps({"turns": turns})


def search(store: str, **options: Any) -> JSON:
    return {"type": "file_search", "vector_store_ids": [store], **options}


def test_a_search_is_an_item_and_its_citation_an_annotation(client: openai.OpenAI, store: str) -> None:
    response = client.responses.create(
        model="m",
        input=asked("winter storms"),
        tools=[search(store)],  # type: ignore[list-item]
        include=["file_search_call.results"],
    )
    call, message = response.output
    assert call.type == "file_search_call"
    assert (call.status, call.queries) == ("completed", ["winter storms"])
    assert call.results is not None
    assert call.results[0].text == STORMS
    assert call.results[0].attributes == {"season": "winter"}
    assert message.type == "message"
    [part] = message.content
    assert part.type == "output_text"
    assert part.text == "It is so, they say."
    [annotation] = part.annotations
    assert annotation.type == "file_citation"
    assert (annotation.filename, annotation.index) == ("storms.txt", len("It is so"))


def test_results_are_shown_to_those_who_ask_for_them(client: openai.OpenAI, store: str) -> None:
    response = client.responses.create(model="m", input=asked("storms"), tools=[search(store)])  # type: ignore[list-item]
    assert response.output[0].type == "file_search_call"
    assert response.output[0].results is None
    again = client.responses.retrieve(response.id, include=["file_search_call.results"])
    assert again.output[0].type == "file_search_call"
    assert again.output[0].results


def test_the_options_of_a_search_are_followed(client: openai.OpenAI, store: str) -> None:
    filters = {"type": "eq", "key": "season", "value": "summer"}
    response = client.responses.create(
        model="m",
        input=asked("all about", text="So."),
        tools=[search(store, max_num_results=1, filters=filters)],  # type: ignore[list-item]
        include=["file_search_call.results"],
    )
    assert response.output[0].type == "file_search_call"
    assert [each.text for each in response.output[0].results or ()] == [SHIPS]


def test_the_events_of_a_search_come_in_openais_order(client: openai.OpenAI, store: str) -> None:
    stream = client.responses.create(
        model="m",
        input=asked("winter storms"),
        tools=[search(store)],  # type: ignore[list-item]
        stream=True,
    )
    events = list(stream)
    of_search = [event.type for event in events if getattr(event, "output_index", None) == 0]
    assert of_search == [
        "response.output_item.added",
        "response.file_search_call.in_progress",
        "response.file_search_call.searching",
        "response.file_search_call.completed",
        "response.output_item.done",
    ]
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == "It is so, they say."
    assert [event.type for event in events].count("response.output_text.annotation.added") == 1


def test_an_answer_that_cites_can_be_continued(client: openai.OpenAI, store: str) -> None:
    first = client.responses.create(model="m", input=asked("storms"), tools=[search(store)])  # type: ignore[list-item]
    second = client.responses.create(model="m", input="And?", previous_response_id=first.id)
    assert second.status == "completed"


@pytest.mark.parametrize("id", ["vs_none", ""])
def test_an_unknown_vector_store_is_404(client: openai.OpenAI, store: str, id: str) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.responses.create(model="m", input="x", tools=[search(store), search(id)])  # type: ignore[list-item]
    assert refused.value.param == "tools[1].vector_store_ids"


def test_a_filter_that_cannot_be_read_is_named_by_its_tool(client: openai.OpenAI, store: str) -> None:
    comparison = {"type": "in", "key": "year", "value": "1999"}
    tool = {**search(store), "filters": comparison}
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="m", input="x", tools=[search(store), tool])  # type: ignore[list-item]
    assert (refused.value.param or "").startswith("tools[1].filters")
