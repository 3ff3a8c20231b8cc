"""`@modelcontextprotocol/server-everything`, unmodified, is asked by each of its transports."""

import asyncio
import os
import subprocess
from collections.abc import Iterator

import pytest

from inference.gateway.http.hosts import HostGuard
from inference.mcp.errors import ServerFailed
from inference.mcp.servers import ProcessServer, RemoteServer, Server
from inference.mcp.sessions import Session
from tests.server import ROOT, free_port

pytestmark = pytest.mark.clients

PROGRAM = (
    ROOT / "build/clients/mcp-everything/node_modules/@modelcontextprotocol/server-everything/dist/index.js"
)


@pytest.fixture(params=["stdio", "streamableHttp", "sse"])
def everything(request: pytest.FixtureRequest) -> Iterator[Server]:
    transport = request.param
    if transport == "stdio":
        yield ProcessServer("everything", "node", (str(PROGRAM), "stdio"))
        return
    port = free_port()
    environment = {**os.environ, "PORT": str(port)}
    log = subprocess.DEVNULL
    process = subprocess.Popen(["node", PROGRAM, transport], env=environment, stdout=log, stderr=log)
    path = "/sse" if transport == "sse" else "/mcp"
    guard = HostGuard(frozenset({f"127.0.0.1:{port}"}))
    try:
        yield RemoteServer("everything", f"http://127.0.0.1:{port}{path}", guard=guard)
    finally:
        process.kill()
        process.wait()


async def test_its_tools_answer(everything: Server) -> None:
    session = await opened(everything)
    try:
        names = {tool["name"] for tool in await session.list_tools()}
        assert {"echo", "get-sum", "get-tiny-image", "get-structured-content"} <= names
        assert (await session.call("echo", {"message": "hi"})).text == "Echo: hi"
        assert "3" in (await session.call("get-sum", {"a": 1, "b": 2})).text
        assert len((await session.call("get-tiny-image", {})).images) == 1
        assert "humidity" in (await session.call("get-structured-content", {"location": "New York"})).text
        assert "demo://resource" in (await session.call("get-resource-links", {"count": 2})).text
        slow = await session.call("trigger-long-running-operation", {"duration": 1, "steps": 2})
        assert "completed" in slow.text
    finally:
        await session.close()


async def opened(server: Server) -> Session:
    """Return a session once the server has started."""
    for _ in range(100):
        session = Session(server)
        try:
            await session.open()
        except ServerFailed:
            await asyncio.sleep(0.1)
        else:
            return session
    raise AssertionError("the server does not start")
