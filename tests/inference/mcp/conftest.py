from collections.abc import Iterator

import pytest

from inference.gateway.http.hosts import HostGuard
from inference.mcp.pool import MCPServers
from inference.mcp.tool import MCPType
from tests.fixtures.mcp import mcp, mcp_process
from tests.inference.engine.conftest import asked, gateway, store
from tests.mcp_servers import MCPProcess

__all__ = ["asked", "gateway", "mcp", "mcp_process", "store", "tools"]


@pytest.fixture
def tools(mcp: MCPProcess) -> Iterator[dict[str, MCPType]]:
    """The tool mcp, which may ask the servers on loopback."""
    yield {"mcp": MCPType(MCPServers(guard=HostGuard(frozenset({mcp.host}))))}
