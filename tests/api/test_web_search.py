"""The tool web_search in both APIs, through the SDK, against two workers, search services and pages."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from openai import AsyncOpenAI, BadRequestError

from tests.inference.web.conftest import site
from tests.inference.web.fakes import KEY, Web
from tests.provider import ProviderProcess
from tests.server import Server

__all__ = ["site"]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CASSANDRA = "searxng on cassandra"
SEARCH = {"name": "web_search", "arguments": {"queries": ["tides"]}}
ANSWER = {"text": "It was 7.4 metres {find:【web\\d:0†[^】]+】}, they say."}
TOOL: Any = {"type": "web_search", "search_context_size": "low"}


def script(*turns: dict[str, Any]) -> str:
    return "script: " + json.dumps({"turns": turns})


def opening(site: Web) -> dict[str, Any]:
    url = f"{site.url}/article"
    return {
        "calls": [
            {"name": "web_open_page", "arguments": {"url": url}},
            {"name": "web_find_in_page", "arguments": {"url": url, "pattern": "tide"}},
        ]
    }


@pytest.fixture
async def client(
    tmp_path: Path, provider: ProviderProcess, site: Web, request: pytest.FixtureRequest
) -> AsyncIterator[AsyncOpenAI]:
    service, store = getattr(request, "param", "searxng"), {}
    if service == CASSANDRA:
        service, store = "searxng", {"ASTROLABE_STORE": request.getfixturevalue("cassandra_url")}
    server = Server(
        tmp_path,
        OPENAI_BASE_URL=provider.url,
        OPENAI_API_KEY="sk-provider",
        ASTROLABE_SEARCH_SERVICE=service,
        ASTROLABE_SEARCH_URL=f"{site.url}/{service}",
        ASTROLABE_SEARCH_KEY=KEY,
        ASTROLABE_SEARCH_HOSTS=f"127.0.0.1:{site.port}",
        **store,
    )
    await asyncio.to_thread(server.start)
    try:
        async with AsyncOpenAI(base_url=server.url, api_key="any", max_retries=0, timeout=60) as client:
            yield client
    finally:
        await asyncio.to_thread(server.stop)
        assert KEY not in server.log.read_text()


@pytest.mark.parametrize("client", ["searxng", "brave", "tavily"], indirect=True)
async def test_a_response_searches_opens_and_cites(client: AsyncOpenAI, site: Web) -> None:
    response = await client.responses.create(
        model="any-model",
        input=script({"calls": [SEARCH]}, opening(site), ANSWER),
        tools=[TOOL],
        include=["web_search_call.action.sources"],
    )
    search, opened, found, message = response.output
    assert search.type == opened.type == found.type == "web_search_call"
    assert {search.status, opened.status, found.status} == {"completed"}
    assert search.action.to_dict() == {
        "type": "search",
        "query": "tides",
        "queries": ["tides"],
        "sources": [{"type": "url", "url": f"{site.url}/{name}"} for name in ("article", "report.txt")],
    }
    assert opened.action.to_dict() == {"type": "open_page", "url": f"{site.url}/article"}
    assert found.action.type == "find_in_page"
    assert message.type == "message"
    [part] = message.content
    assert part.type == "output_text"
    link = f"([127.0.0.1]({site.url}/article))"
    assert part.text == f"It was 7.4 metres {link}, they say."
    [cited] = part.annotations
    assert cited.type == "url_citation"
    assert (cited.url, part.text[cited.start_index : cited.end_index]) == (f"{site.url}/article", link)
    assert cited.title == "Tides of Brest"
    again = await client.responses.create(
        model="any-model", input=script({"text": "{user}"}), previous_response_id=response.id, tools=[TOOL]
    )
    assert again.status == "completed"


async def test_a_streamed_response_shows_the_search_as_it_goes(client: AsyncOpenAI, site: Web) -> None:
    stream = await client.responses.create(
        model="any-model",
        input=script({"calls": [SEARCH]}, ANSWER),
        tools=[{"type": "web_search_preview", "search_context_size": "low"}],
        stream=True,
    )
    events = [event async for event in stream]
    assert [event.type for event in events if "web_search" in event.type] == [
        "response.web_search_call.in_progress",
        "response.web_search_call.searching",
        "response.web_search_call.completed",
    ]
    [done] = [each for each in events if each.type == "response.completed"]
    assert done.response.output[0].to_dict()["action"] == {
        "type": "search",
        "query": "tides",
        "queries": ["tides"],
    }
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == f"It was 7.4 metres ([127.0.0.1]({site.url}/article)), they say."
    [added] = [event for event in events if event.type == "response.output_text.annotation.added"]
    assert added.annotation["url"] == f"{site.url}/article"


@pytest.mark.parametrize("client", ["searxng", CASSANDRA], indirect=True)
async def test_a_run_searches_and_cites(client: AsyncOpenAI, site: Web) -> None:
    assistant = await client.beta.assistants.create(model="any-model", tools=[TOOL])
    message: Any = {"role": "user", "content": script({"calls": [SEARCH]}, opening(site), ANSWER)}
    thread = await client.beta.threads.create(messages=[message])
    async with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
        events = [event async for event in stream]
    assert events[-1].event == "thread.run.completed"
    deltas: list[Any] = [each.data.delta for each in events if each.event == "thread.message.delta"]
    [answer] = (await client.beta.threads.messages.list(thread.id, limit=1)).data
    [part] = answer.content
    assert part.type == "text"
    link = f"([127.0.0.1]({site.url}/article))"
    assert part.text.value == f"It was 7.4 metres {link}, they say."
    assert "".join(delta.content[0].text.value for delta in deltas) == part.text.value
    [cited] = [annotation.to_dict() for annotation in part.text.annotations]
    assert cited["type"] == "url_citation"
    assert cited["text"] == link == part.text.value[cited["start_index"] : cited["end_index"]]
    assert cited["url_citation"]["url"] == f"{site.url}/article"
    run = (await client.beta.threads.runs.list(thread.id)).data[0]
    listing = client.beta.threads.runs.steps.with_raw_response.list  # the SDK's types know no such calls
    steps = json.loads((await listing(run.id, thread_id=thread.id, order="asc")).text)
    calls = [call for step in steps["data"][:2] for call in step["step_details"]["tool_calls"]]
    assert [call["web_search"]["action"]["type"] for call in calls] == ["search", "open_page", "find_in_page"]


async def test_a_search_that_fails_is_shown_and_the_model_goes_on(client: AsyncOpenAI, site: Web) -> None:
    async def odd(_: web.Request) -> web.Response:
        return web.Response(status=500)

    site.odd = odd
    response = await client.responses.create(
        model="any-model", input=script({"calls": [SEARCH]}, {"text": "So: {tool}"}), tools=[TOOL]
    )
    assert response.output[0].to_dict()["status"] == "failed"
    assert response.output_text == "So: The search service failed: it answered with status 500."


async def test_without_a_search_service_the_tool_is_refused_with_the_reason(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    server = Server(tmp_path, workers=1, OPENAI_BASE_URL=provider.url, OPENAI_API_KEY="sk-provider")
    await asyncio.to_thread(server.start)
    try:
        async with AsyncOpenAI(base_url=server.url, api_key="any", max_retries=0) as client:
            with pytest.raises(BadRequestError, match=r"no search service \(ASTROLABE_SEARCH_SERVICE\)"):
                await client.responses.create(model="m", input="x", tools=[TOOL])
            assistant = await client.beta.assistants.create(model="m", tools=[TOOL])
            with pytest.raises(BadRequestError, match="'web_search' is not available on this server"):
                await client.beta.threads.create_and_run(assistant_id=assistant.id)
            codex: Any = {"type": "web_search", "external_web_access": True}
            response = await client.responses.create(model="m", input=script({"text": "Aye."}), tools=[codex])
            assert response.output_text == "Aye."
    finally:
        await asyncio.to_thread(server.stop)
