"""The run engine: drives a conversation with a model and its tools, whatever worker dies. It knows no API."""

from inference.engine.engine import Engine
from inference.engine.starts import RunStart, Started
from inference.engine.tools import Tool, ToolContext, ToolResult, ToolType, ToolTypes

__all__ = [
    "Engine",
    "RunStart",
    "Started",
    "Tool",
    "ToolContext",
    "ToolResult",
    "ToolType",
    "ToolTypes",
]
