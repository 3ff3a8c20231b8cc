"""The run engine: drives a thread's conversation with a model and its tools, whatever worker dies."""

from inference.runs.service import Launch, Runs, Started
from inference.runs.tools import ServerTool, ToolFactories, ToolResult, Workplace

__all__ = ["Launch", "Runs", "ServerTool", "Started", "ToolFactories", "ToolResult", "Workplace"]
