"""MCP servers on loopback, in a process of their own.

`/mcp` is a server of the official package, which speaks the newest protocol and the older ones by Streamable
HTTP; `/sse` is the same by HTTP with SSE. `/odd/KIND/mcp` is a server of the older protocol that misbehaves in
one way (`odd.py`). `/seen` has the requests that arrived, with their headers, and `/seen?clear=1` forgets them.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass
class MCPProcess:
    """The servers, as a process."""

    process: subprocess.Popen[str]
    url: str

    @classmethod
    def start(cls) -> "MCPProcess":
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.mcp_servers"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found, "the MCP servers do not start"
        return cls(process, found[0])

    @property
    def host(self) -> str:
        """Host and port, as ASTROLABE_MCP_HOSTS has them."""
        return self.url.removeprefix("http://")

    def seen(self) -> list[dict[str, Any]]:
        """Return the messages that arrived since they were last forgotten."""
        seen: list[dict[str, Any]] = httpx.get(f"{self.url}/seen").json()
        return seen

    def calls(self) -> list[str]:
        """Return the names of the tools that were called."""
        return [each["params"]["name"] for each in self.seen() if each["method"] == "tools/call"]

    def forget(self) -> None:
        """Forget what arrived."""
        httpx.get(f"{self.url}/seen", params={"clear": "1"})

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process.wait()
