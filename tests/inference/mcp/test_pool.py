"""Which server a tool of a request means, and the sessions of a worker."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inference.engine.errors import ToolRefused
from inference.gateway.http.hosts import HostGuard
from inference.mcp.errors import ServerFailed
from inference.mcp.pool import MCPServers, Secrets
from inference.mcp.servers import RemoteServer
from inference.mcp.servers_file import OperatorServers
from inference.mcp.tool import MCPTool
from tests.mcp_servers import ROOT, MCPProcess

FILE = f"""
servers:
  clock: {{command: {sys.executable}, args: [-m, tests.mcp_servers.tools], cwd: {ROOT},
           env: {{PYTHONPATH: {ROOT}}}, timeout: 20}}
  remote: {{url: "https://inside.example/mcp", authorization: "${{REMOTE_TOKEN}}", projects: [one]}}
"""


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[MCPServers]:
    (tmp_path / "mcp.yaml").write_text(FILE)
    servers = MCPServers(
        OperatorServers.from_file(tmp_path / "mcp.yaml", {"REMOTE_TOKEN": "sesame"}), HostGuard()
    )
    yield servers
    await servers.close()


def test_a_request_brings_a_server_with_its_secrets(servers: MCPServers) -> None:
    tool = {"server_label": "remote", "server_url": "https://8.8.8.8/mcp"}
    found = servers.find("one", tool, Secrets("token", {"X-Tenant": "a"}))
    assert isinstance(found, RemoteServer)
    assert found.url == "https://8.8.8.8/mcp"
    assert found.headers == {"X-Tenant": "a", "authorization": "Bearer token"}
    assert found.guard is not None


def test_a_label_alone_means_the_operators_server(servers: MCPServers) -> None:
    found = servers.find("one", {"server_label": "remote"})
    assert isinstance(found, RemoteServer)
    assert found.headers == {"authorization": "Bearer sesame"}


@pytest.mark.parametrize(
    ("project", "tool", "param"),
    [
        ("two", {"server_label": "remote"}, "server_url"),
        ("one", {"server_label": "unknown"}, "server_url"),
        ("one", {"server_label": "a", "connector_id": "connector_gmail"}, "connector_id"),
        ("one", {"server_label": "a", "server_url": "http://127.0.0.1/mcp"}, "server_url"),
        ("one", {"server_label": "a", "server_url": "http://localhost/mcp"}, "server_url"),
        ("one", {"server_label": "a", "server_url": "http://[fd00::1]/mcp"}, "server_url"),
        ("one", {"server_label": "a", "server_url": "https://u:p@a.example/mcp"}, "server_url"),
        ("one", {"server_label": "a", "server_url": "file:///etc/passwd"}, "server_url"),
        ("one", {"server_label": "a", "server_url": "https://a.example:99999999/"}, "server_url"),
    ],
)
def test_a_server_that_cannot_be_asked_is_refused(
    servers: MCPServers, project: str, tool: dict[str, str], param: str
) -> None:
    with pytest.raises(ToolRefused) as caught:
        servers.find(project, tool)
    assert caught.value.param == param


async def test_a_process_is_shared_restarted_and_ended(servers: MCPServers) -> None:
    server = servers.find("any", {"server_label": "clock"})
    session = await servers.open(server)
    first = int((await session.call("process", {})).text)
    await servers.release(session)
    assert await servers.open(server) is session
    os.kill(first, signal.SIGKILL)
    with pytest.raises(ServerFailed):
        await session.call("process", {})
    session = await servers.open(server)
    second = int((await session.call("process", {})).text)
    assert second != first
    await servers.close()
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


async def test_a_process_that_has_just_died_is_listed_anew(servers: MCPServers) -> None:
    server = servers.find("any", {"server_label": "clock"})
    session = await servers.open(server)
    first = int((await session.call("process", {})).text)
    os.kill(first, signal.SIGKILL)  # nothing waits here: its end is not noticed yet
    tool = MCPTool(servers, server, {"server_label": "clock"}, sees_images=False)
    await tool.list_tools()
    assert tool.listing is not None
    assert (tool.listing.details["error"], tool.listing.failure) == (None, None)
    assert "process" in [each["name"] for each in tool.listing.details["tools"]]


async def test_a_remote_session_is_opened_for_its_request_alone(mcp: MCPProcess) -> None:
    servers = MCPServers(guard=HostGuard(frozenset({mcp.host})))
    server = servers.find("any", {"server_label": "a", "server_url": f"{mcp.url}/mcp"})
    session = await servers.open(server)
    await servers.release(session)
    assert not session.is_open


def test_the_package_is_imported_when_a_server_is_asked_first() -> None:
    code = "import sys, serving.services; sys.exit('mcp' in sys.modules or 'httpx2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
