"""The operator's tools: functions and endpoints, with arguments that fit their schemas."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from inference.mcp.errors import ServerFailed
from inference.operator_tools.tools import CallContext, ToolServer
from inference.operator_tools.tools_file import OperatorTools
from persistence.types import JSON

FUNCTIONS = "tests.inference.operator_tools.functions"
CONTEXT = CallContext("p", "thread_1")

Answer = Callable[[web.Request], web.StreamResponse]


class Endpoint:
    """An endpoint of the operator on loopback."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[JSON, JSON]] = []
        self.answers: dict[str, Answer] = {
            "/ok": lambda _: web.json_response({"room": 7}),
            "/refuses": lambda _: web.Response(status=422, text="No such day."),
            "/moves": lambda _: web.Response(status=302, headers={"location": "http://169.254.169.254/"}),
            "/floods": lambda _: web.Response(body=b"x" * 2_000_000),
            "/bytes": lambda _: web.Response(body=b"\xff\xfe"),
        }

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((await request.json(), dict(request.headers)))
        if request.path == "/sleeps":
            await asyncio.sleep(0.5)
        return self.answers.get(request.path, lambda _: web.Response())(request)


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    made, app = Endpoint(), web.Application()
    app.router.add_post("/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def server(tmp_path: Path, endpoint: Endpoint) -> AsyncIterator[ToolServer]:
    """A toolset with a function or an endpoint of each kind."""
    lines = ["toolsets:", "  office:", "    tools:"]
    schema = "{type: object, properties: {a: {type: integer}}, additionalProperties: true}"
    functions = ("add", "shout", "fail", "sleep", "flood")
    places = {name: f"python: '{FUNCTIONS}:{name}'" for name in functions}
    for name in ("ok", "refuses", "moves", "floods", "bytes", "sleeps"):
        places[name] = f"url: '{endpoint.url}/{name}', headers: {{Authorization: 'Bearer ${{ROOMS}}'}}"
    for name, place in places.items():
        parameters = f"parameters: {schema}, " if name in functions else ""
        lines += [f"      {name}: {{description: d, timeout: 0.2, {parameters}{place}}}"]
    lines += ["      absent: {description: d, url: 'http://127.0.0.1:1/'}"]
    path = tmp_path / "tools.yaml"
    path.write_text("\n".join(lines))
    tools = OperatorTools.from_file(path, {"ROOMS": "secret-of-rooms"})
    server = tools.find("office", "p", "thread_1")
    assert server is not None
    yield server
    await tools.close()


async def test_the_model_sees_each_tool_with_its_schema(server: ToolServer) -> None:
    tools = {tool["name"]: tool for tool in await server.list_tools()}
    assert tools["add"]["input_schema"]["properties"] == {"a": {"type": "integer"}}
    assert tools["ok"]["input_schema"] == {"type": "object", "properties": {}}
    assert "secret-of-rooms" not in str(server)


async def test_functions_get_the_arguments_and_whose_call_it_is(server: ToolServer) -> None:
    result = await server.call("add", {"a": 1, "b": 2})
    assert (result.text, result.is_error) == ('{"sum":3,"project":"p","in":"thread_1"}', False)
    assert (await server.call("shout", {"text": "aye"})).text == "AYE"


async def test_arguments_that_do_not_fit_the_schema_never_reach_the_tool(server: ToolServer) -> None:
    result = await server.call("add", {"a": "one", "b": 2})
    assert result.is_error
    assert result.text == ('The arguments do not fit the tool\'s schema: a: "one" is not of type "integer"')


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("fail", "The tool failed: ValueError: the ledger is closed"),
        ("sleep", "The tool did not answer within 0.2 seconds."),
        ("flood", "The tool's result has more than 1048576 bytes."),
        ("refuses", "The tool answered with status 422. No such day."),
        ("moves", "The tool answered with status 302."),
        ("floods", "The tool failed: its answer cannot be read: it is longer than 1048576 bytes."),
        ("sleeps", "The tool did not answer within 0.2 seconds."),
        ("absent", "The tool failed: it cannot be reached: "),
    ],
)
async def test_failures_are_read_by_the_model(server: ToolServer, name: str, reason: str) -> None:
    result = await server.call(name, {})
    assert result.is_error
    assert result.text.startswith(reason)


async def test_endpoints_get_the_arguments_and_the_operators_headers(
    server: ToolServer, endpoint: Endpoint
) -> None:
    assert (await server.call("ok", {"seats": 3})).text == '{"room": 7}'
    assert (await server.call("bytes", {})).text == "\ufffd\ufffd"
    body, headers = endpoint.asked[0]
    assert body == {"seats": 3}
    assert headers["Authorization"] == "Bearer secret-of-rooms"
    assert headers["x-astrolabe-project"] == "p"
    assert headers["x-astrolabe-conversation"] == "thread_1"


async def test_an_unknown_tool_fails(server: ToolServer) -> None:
    with pytest.raises(ServerFailed, match="There is no tool 'other'"):
        await server.call("other", {})


async def test_a_slow_function_holds_up_no_other_call(server: ToolServer) -> None:
    slow = [asyncio.create_task(server.call("sleep", {})) for _ in range(4)]
    await asyncio.sleep(0)
    assert (await asyncio.wait_for(server.call("add", {"a": 1, "b": 2}), 0.2)).text.startswith('{"sum":3')
    await asyncio.gather(*slow)
