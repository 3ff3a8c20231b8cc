"""A server of the official package, with tools of every kind; as a program it serves over stdio."""

import asyncio
import base64
import os
from typing import Annotated

from mcp.server.mcpserver import Image, MCPServer
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Weather(BaseModel):
    city: str
    degrees: float


def server() -> MCPServer:
    made = MCPServer("tools")

    @made.tool(annotations=ToolAnnotations(read_only_hint=True))
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @made.tool()
    def delete_all(what: Annotated[str, Field(description="What to delete")]) -> str:
        """Delete everything of a kind."""
        return f"Deleted all {what}."

    @made.tool(annotations=ToolAnnotations(read_only_hint=True), structured_output=True)
    def weather(city: str) -> Weather:
        """Return the weather of a city."""
        return Weather(city=city, degrees=21.5)

    @made.tool(annotations=ToolAnnotations(read_only_hint=True))
    def picture() -> Image:
        """Return a picture."""
        return Image(data=PNG, format="png")

    @made.tool()
    def fail() -> str:
        """Fail."""
        raise ValueError("the disk is full")

    @made.tool()
    async def sleep(seconds: float) -> str:
        """Wait."""
        await asyncio.sleep(seconds)
        return "slept"

    @made.tool()
    def large(megabytes: int) -> str:
        """Return a long text."""
        return "x" * (megabytes * 1_000_000)

    @made.tool(name="dotted.näme")
    def dotted() -> str:
        """Have a name that chat models do not take."""
        return "dotted"

    @made.tool()
    def process() -> int:
        """Return the id of this process."""
        return os.getpid()

    return made


if __name__ == "__main__":
    server().run("stdio")
