"""MCP servers: their tools for models, over HTTP or from the operator's own processes."""
