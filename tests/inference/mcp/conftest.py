from tests.fixtures.mcp import mcp, mcp_process

__all__ = ["mcp", "mcp_process"]
