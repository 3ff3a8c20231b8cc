import pytest

from inference.gateway.http.hosts import HostGuard
from inference.mcp.pool import MCPServers
from inference.mcp.tool import MCPType
from tests.fixtures.mcp import mcp, mcp_process
from tests.inference.engine.conftest import asked, gateway, store
from tests.mcp_servers import MCPProcess

__all__ = ["asked", "gateway", "mcp", "mcp_process", "store", "tools"]


@pytest.fixture
def tools(mcp: MCPProcess) -> dict[str, MCPType]:
    """The tool mcp, which may ask the servers on loopback; all models but `blind` read images."""
    servers = MCPServers(guard=HostGuard(frozenset({mcp.host})))
    return {"mcp": MCPType(servers, lambda model: model != "blind")}
