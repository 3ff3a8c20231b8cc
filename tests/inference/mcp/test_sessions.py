"""Sessions with MCP servers: real ones of the official package, and odd ones."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from inference.gateway.http.hosts import HostGuard
from inference.mcp import sessions
from inference.mcp.errors import ServerFailed, ToolListFailed
from inference.mcp.servers import ProcessServer, RemoteServer
from inference.mcp.sessions import Session
from tests.mcp_servers import ROOT, MCPProcess

SECONDS = 20.0


@asynccontextmanager
async def opened(mcp: MCPProcess, path: str, **options: object) -> AsyncIterator[Session]:
    guard = HostGuard(frozenset({mcp.host}))
    settings = {"guard": guard, "seconds": SECONDS, **options}
    session = Session(RemoteServer("server", mcp.url + path, **settings))  # type: ignore[arg-type]
    await session.open()
    try:
        yield session
    finally:
        await session.close()


@pytest.mark.parametrize("path", ["/mcp", "/sse"])
async def test_tools_are_listed_and_called(mcp: MCPProcess, path: str) -> None:
    async with opened(mcp, path) as session:
        tools = {tool["name"]: tool for tool in await session.list_tools()}
        assert tools["add"]["annotations"] == {"readOnlyHint": True}
        assert tools["delete_all"]["annotations"] is None
        assert tools["delete_all"]["description"] == "Delete everything of a kind."
        assert tools["add"]["input_schema"]["required"] == ["a", "b"]
        assert "dotted.näme" in tools
        results = await asyncio.gather(session.call("add", {"a": 2, "b": 3}), session.call("dotted.näme", {}))
        assert [result.text for result in results] == ["5", "dotted"]


async def test_an_older_server_is_asked_in_its_own_protocol(mcp: MCPProcess) -> None:
    async with opened(mcp, "/odd/plain/mcp") as session:
        assert [tool["name"] for tool in await session.list_tools()] == ["go"]
        assert (await session.call("go", {"x": 1})).text == 'went {"x": 1}'
    methods = [each["method"] for each in mcp.seen()]
    assert methods == [
        "server/discover",
        "initialize",
        "notifications/initialized",
        "tools/list",
        "tools/call",
    ]


async def test_headers_go_with_every_message(mcp: MCPProcess) -> None:
    async with opened(mcp, "/odd/secret/mcp", headers={"authorization": "Bearer sesame"}) as session:
        await session.call("go", {})
    assert {each["headers"].get("authorization") for each in mcp.seen()} == {"Bearer sesame"}


async def test_pictures_are_for_the_model_to_see(mcp: MCPProcess) -> None:
    async with opened(mcp, "/mcp") as session:
        result = await session.call("picture", {})
        assert result.text == ""
        assert [image[:22] for image in result.images] == ["data:image/png;base64,"]


async def test_structured_content_is_shown_where_no_text_is(mcp: MCPProcess) -> None:
    async with opened(mcp, "/odd/structured/mcp") as session:
        assert (await session.call("go", {})).text == '{"degrees":21.5}'


async def test_structured_content_may_have_any_number(mcp: MCPProcess) -> None:
    async with opened(mcp, "/odd/structured-large/mcp") as session:
        assert (await session.call("go", {})).text == f'{{"atoms":{10**30}}}'


async def test_content_that_no_model_reads_is_named(mcp: MCPProcess) -> None:
    async with opened(mcp, "/odd/blocks/mcp") as session:
        result = await session.call("go", {})
    assert result.text.splitlines() == [
        "[Resource: a.txt, file:///a.txt, A file]",
        "[Resource: file:///b.txt]",
        "B's text",
        "[Resource: file:///c, of the type x/y, which cannot be shown.]",
        "[Audio of the type audio/wav, which cannot be shown.]",
        "[An image of the type image/tiff, which cannot be shown.]",
    ]
    assert result.images == ()


async def test_a_tool_that_fails_says_so_to_the_model(mcp: MCPProcess) -> None:
    async with opened(mcp, "/mcp") as session:
        result = await session.call("fail", {})
        assert result.is_error
        assert "Error" in result.text
        assert (await session.call("add", {"a": 1, "b": 1})).text == "2"


async def test_a_long_text_is_cut_off(mcp: MCPProcess) -> None:
    async with opened(mcp, "/mcp") as session:
        result = await session.call("large", {"megabytes": 1})
    assert len(result.text) < 140_000
    assert result.text.endswith("[The rest of the result is cut off: it has 1000000 characters.]")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("dying", "closed|cut off|lost|broke"),
        ("not-json", "Failed to parse JSON"),
        ("protocol-error", "No such argument"),
        ("hundred-megabytes", "longer than 4194304 bytes"),
        ("endless", "longer than 4194304 bytes"),
        ("silent", "within 1 seconds"),
    ],
)
async def test_a_server_that_misbehaves_costs_only_its_call(mcp: MCPProcess, kind: str, message: str) -> None:
    seconds = 1.0 if kind == "silent" else SECONDS
    async with opened(mcp, f"/odd/{kind}/mcp", seconds=seconds) as session:
        with pytest.raises(ServerFailed, match=message):
            await session.call("go", {})


@pytest.mark.parametrize("path", ["/mcp", "/sse"])
async def test_a_hundred_megabytes_are_not_read(mcp: MCPProcess, path: str) -> None:
    async with opened(mcp, path) as session:
        with pytest.raises(ServerFailed):
            await session.call("large", {"megabytes": 100})
        assert not session.is_open


@pytest.mark.parametrize("path", ["/mcp", "/sse"])
async def test_a_slow_call_ends_and_the_session_stays(mcp: MCPProcess, path: str) -> None:
    async with opened(mcp, path, seconds=1.0) as session:
        with pytest.raises(ServerFailed, match="within 1 seconds"):
            await session.call("sleep", {"seconds": 60})
        assert (await session.call("add", {"a": 1, "b": 1})).text == "2"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pages", "more than 50 pages"),
        ("long-list", "longer than 500 tools or 512 kB"),
        ("wrong-list", "does not follow the protocol"),
        ("list-error", "on strike"),
        ("large-number", "Integer exceeds 64-bit range"),
    ],
)
async def test_a_list_that_cannot_be_used_is_refused(mcp: MCPProcess, kind: str, message: str) -> None:
    async with opened(mcp, f"/odd/{kind}/mcp") as session:
        with pytest.raises(ServerFailed, match=message):
            await session.list_tools()


async def test_odd_schemas_are_listed_as_they_are(mcp: MCPProcess) -> None:
    async with opened(mcp, "/odd/odd-schemas/mcp") as session:
        assert [len(tool["name"]) for tool in await session.list_tools()] == [4, 4, 200]


@pytest.mark.parametrize(
    ("kind", "status"), [("secret", 401), ("broken", 500), ("page", None), ("nothing/here", 404)]
)
async def test_a_server_that_cannot_be_opened_says_why(
    mcp: MCPProcess, kind: str, status: int | None
) -> None:
    with pytest.raises(ServerFailed) as caught:
        async with opened(mcp, f"/odd/{kind}/mcp"):
            pass
    assert caught.value.status == status
    shown = ToolListFailed("deepwiki", caught.value).message
    assert shown.startswith("Error retrieving tool list from MCP server: 'deepwiki'. Http status code: ")
    assert f"{status or 424} (" in shown


async def test_a_server_that_is_not_there_cannot_be_reached() -> None:
    session = Session(RemoteServer("server", "http://127.0.0.1:9/mcp"))
    with pytest.raises(ServerFailed, match="cannot be reached"):
        await session.open()


@pytest.mark.parametrize(
    "url", ["{url}/mcp", "http://localhost:1/mcp", "http://[::1]/mcp", "http://10.0.0.1/mcp"]
)
async def test_private_addresses_are_not_asked(mcp: MCPProcess, url: str) -> None:
    session = Session(RemoteServer("server", url.format(url=mcp.url), guard=HostGuard()))
    with pytest.raises(ServerFailed, match="ASTROLABE_MCP_HOSTS"):
        await session.open()
    assert mcp.seen() == []


async def test_redirects_to_other_hosts_are_not_followed(mcp: MCPProcess) -> None:
    with pytest.raises(ServerFailed, match="not followed"):
        async with opened(mcp, "/odd/elsewhere/mcp"):
            pass


async def test_compressed_answers_are_refused(mcp: MCPProcess) -> None:
    with pytest.raises(ServerFailed, match="compressed"):
        async with opened(mcp, "/odd/packed/mcp"):
            pass


async def test_a_process_is_asked_and_ends_with_its_session() -> None:
    command = (sys.executable, ("-m", "tests.mcp_servers.tools"))
    server = ProcessServer("clock", command[0], command[1], {"PYTHONPATH": str(ROOT)}, str(ROOT), SECONDS)
    session = Session(server)
    await session.open()
    process = int((await session.call("process", {})).text)
    assert (await session.call("add", {"a": 1, "b": 2})).text == "3"
    await session.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


async def test_a_process_that_died_is_noticed() -> None:
    command = (sys.executable, ("-m", "tests.mcp_servers.tools"))
    session = Session(ProcessServer("clock", command[0], command[1], {"PYTHONPATH": str(ROOT)}, str(ROOT)))
    await session.open()
    os.kill(int((await session.call("process", {})).text), signal.SIGKILL)
    with pytest.raises(ServerFailed):
        await session.call("add", {"a": 1, "b": 2})
    assert not session.is_open
    await session.close()


async def test_a_command_that_is_missing_is_an_error() -> None:
    with pytest.raises(ServerFailed, match="cannot be started"):
        await Session(ProcessServer("clock", "/no/such/command")).open()


async def test_no_task_is_left_behind(mcp: MCPProcess) -> None:
    before = len(asyncio.all_tasks())
    async with opened(mcp, "/mcp") as session:
        await session.call("add", {"a": 1, "b": 1})
    with pytest.raises(ServerFailed):
        async with opened(mcp, "/odd/broken/mcp"):
            pass
    assert len(asyncio.all_tasks()) == before


async def test_a_server_that_never_opens_is_left(mcp: MCPProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "OPEN_SECONDS", 0.5)

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(ServerFailed, match=r"within 0\.5 seconds"):
            await Session(RemoteServer("server", f"http://127.0.0.1:{port}/mcp")).open()
