"""The operator's file of MCP servers."""

from pathlib import Path

import pytest

import inference.mcp as package
from inference.errors import MCPServersRefused
from inference.mcp.servers import ProcessServer, RemoteServer
from inference.mcp.servers_file import OperatorServers

EXAMPLE = Path(package.__file__).parent / "mcp.example.yaml"


def read(folder: Path, text: str) -> OperatorServers:
    file = folder / "mcp.yaml"
    file.write_text(text)
    return OperatorServers.from_file(file, {"TOKEN": "sesame"})


def test_the_example_can_be_used() -> None:
    servers = OperatorServers.from_file(EXAMPLE, {"ISSUES_TOKEN": "sesame"})
    issues = servers.find("issues", "default")
    assert isinstance(issues, RemoteServer)
    assert issues.headers == {"authorization": "Bearer sesame"}
    assert issues.guard is None
    clock = servers.find("clock", "default")
    assert isinstance(clock, ProcessServer)
    assert (clock.command, clock.arguments) == ("uvx", ("mcp-server-time",))


def test_secrets_are_in_no_text_of_a_server() -> None:
    servers = OperatorServers.from_file(EXAMPLE, {"ISSUES_TOKEN": "sesame"})
    assert "sesame" not in repr(servers)


def test_a_server_may_be_for_some_projects_only(tmp_path: Path) -> None:
    servers = read(tmp_path, "servers: {a: {url: 'https://a.example/mcp', projects: [one]}}")
    assert servers.find("a", "one") is not None
    assert servers.find("a", "two") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("servers: {a: {}}", "needs either 'url' or 'command'"),
        ("servers: {a: {url: 'https://a.example', command: x}}", "needs either 'url' or 'command'"),
        ("servers: {a: {url: 'https://a.example', args: [x]}}", "'args' belongs to a server with 'command'"),
        ("servers: {'a b': {command: x}}", "a label begins with a letter"),
        ("servers: {a: {url: 'https://u:p@a.example'}}", "has a user name or password in it"),
        ("servers: {a: {url: 'https://a.example', authorization: sk-1}}", "secrets are not written"),
        ("servers: {a: {url: 'https://a.example', headers: {X-Api-Key: k}}}", "secrets are not written"),
        ("servers: {a: {command: x, env: {API_TOKEN: k}}}", "secrets are not written"),
        ("servers: {a: {command: x, authorization: y}}", "'authorization' belongs to a server with 'url'"),
        ("servers: {a: {url: 'ftp://a.example'}}", "not a valid URL"),
        ("servers: {a: {url: 'https://a.example', authorisation: x}}", "Did you mean 'authorization'"),
        ("servers: {a: {url: 'https://a.example', authorization: '${NONE}'}}", "NONE is not set"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(MCPServersRefused, match="line 1") as caught:
        read(tmp_path, text)
    assert reason in str(caught.value)
