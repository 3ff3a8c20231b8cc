"""Tools of the operator's file in both APIs, through the SDK, against two workers."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from openai import AsyncOpenAI, BadRequestError

from tests.provider import ProviderProcess
from tests.server import Server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

MODULE = "def add(arguments, context):\n    return {'sum': arguments['a'] + arguments['b'], 'for': context.project}\n"
FILE = """
toolsets:
  office:
    tools:
      add:
        description: Adds two numbers.
        parameters: {type: object, properties: {a: {type: integer}, b: {type: integer}}, required: [a, b]}
        python: astrolabe_test_tools:add
      rooms: {description: Finds a room., url: "$URL/rooms", headers: {Authorization: "Bearer ${ROOMS}"}}
"""
OFFICE: Any = {"type": "mcp", "server_label": "office"}
CALLS = {
    "calls": [
        {"name": "office__add", "arguments": {"a": 1, "b": 2}},
        {"name": "office__rooms", "arguments": {"seats": 3}},
        {"name": "office__add", "arguments": {"a": "one"}},
    ]
}
SUM = '{"sum":3,"for":"default"}'


def script(*turns: dict[str, Any]) -> str:
    return "script: " + json.dumps({"turns": turns})


@pytest.fixture
async def asked() -> list[str]:
    """What the endpoint was sent in `authorization`."""
    return []


@pytest.fixture
async def endpoint(asked: list[str]) -> AsyncIterator[str]:
    """The URL of an endpoint of the operator."""

    async def rooms(request: web.Request) -> web.Response:
        asked.append(request.headers["authorization"])
        return web.json_response({"room": (await request.json())["seats"]})

    app = web.Application()
    app.router.add_post("/rooms", rooms)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def client(tmp_path: Path, provider: ProviderProcess, endpoint: str) -> AsyncIterator[AsyncOpenAI]:
    (tmp_path / "astrolabe_test_tools.py").write_text(MODULE)
    (tmp_path / "tools.yaml").write_text(FILE.replace("$URL", endpoint))
    server = Server(
        tmp_path,
        OPENAI_BASE_URL=provider.url,
        OPENAI_API_KEY="sk-provider",
        ASTROLABE_TOOLS=str(tmp_path / "tools.yaml"),
        ROOMS="secret-of-rooms",
    )
    await asyncio.to_thread(server.start)
    try:
        async with AsyncOpenAI(base_url=server.url, api_key="any", max_retries=0, timeout=60) as client:
            yield client
    finally:
        await asyncio.to_thread(server.stop)
        assert "secret-of-rooms" not in server.log.read_text()


async def test_a_response_calls_functions_and_endpoints_without_approval(
    client: AsyncOpenAI, asked: list[str]
) -> None:
    response = await client.responses.create(
        model="any-model", input=script(CALLS, {"text": "Done."}), tools=[OFFICE]
    )
    listed, add, rooms, wrong, _ = response.output
    assert listed.type == "mcp_list_tools"
    assert [tool.name for tool in listed.tools] == ["add", "rooms"]
    assert add.type == rooms.type == wrong.type == "mcp_call"
    assert (add.server_label, add.name, add.output, add.error) == ("office", "add", SUM, None)
    assert rooms.output == '{"room": 3}'
    assert asked == ["Bearer secret-of-rooms"]
    assert wrong.status == "failed"
    assert "The arguments do not fit" in str(wrong.error)
    assert response.output_text == "Done."
    assert response.tools[0].to_dict()["require_approval"] == "never"


async def test_a_response_may_ask_for_approval_and_choose_among_the_tools(client: AsyncOpenAI) -> None:
    tool: Any = {**OFFICE, "require_approval": "always", "allowed_tools": ["add"]}
    adding = {"calls": CALLS["calls"][:1]}
    response = await client.responses.create(
        model="any-model", input=script(adding, {"text": "{tool}"}), tools=[tool]
    )
    listed, request = response.output
    assert listed.type == "mcp_list_tools"
    assert [each.name for each in listed.tools] == ["add"]
    assert request.type == "mcp_approval_request"
    answer: Any = {"type": "mcp_approval_response", "approval_request_id": request.id, "approve": True}
    response = await client.responses.create(
        model="any-model", input=[answer], previous_response_id=response.id, tools=[tool]
    )
    assert [item.type for item in response.output] == ["mcp_call", "message"]


async def test_a_streamed_run_calls_them_too(client: AsyncOpenAI) -> None:
    assistant = await client.beta.assistants.create(model="any-model", tools=[OFFICE])
    message: Any = {"role": "user", "content": script(CALLS, {"text": "Done."})}
    thread = await client.beta.threads.create(messages=[message])
    async with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
        names = [event.event async for event in stream]
    assert names[-1] == "thread.run.completed"
    run = (await client.beta.threads.runs.list(thread.id)).data[0]
    listing = client.beta.threads.runs.steps.with_raw_response.list  # the SDK's types know no such calls
    steps = json.loads((await listing(run.id, thread_id=thread.id, order="asc")).text)
    calls = [call for step in steps["data"] for call in step["step_details"].get("tool_calls", ())]
    outputs = [call["mcp"]["output"] for call in calls if call["mcp"].get("name")]
    assert outputs[:2] == [SUM, '{"room": 3}']


async def test_a_label_that_the_operator_has_not_defined_is_refused(client: AsyncOpenAI) -> None:
    tool: Any = {"type": "mcp", "server_label": "cellar"}
    with pytest.raises(BadRequestError, match="the operator has defined no server 'cellar'"):
        await client.responses.create(model="any-model", input="x", tools=[tool])
