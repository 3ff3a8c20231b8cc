"""Requests leave no reference cycles, so the garbage collector can run rarely."""

import gc
from pathlib import Path
from typing import Any

from serving.app import create_app
from serving.settings import Settings

SCOPE = {
    "type": "http",
    "method": "GET",
    "path": "/v1/health",
    "raw_path": b"/v1/health",
    "query_string": b"",
    "headers": [],
}


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b""}


async def send(_: Any) -> None:
    pass


async def test_a_request_leaves_no_reference_cycle(tmp_path: Path) -> None:
    settings = Settings.read(
        ASTROLABE_STORE=f"sqlite:///{tmp_path}/a.db", ASTROLABE_CACHE=str(tmp_path), OPENAI_API_KEY="sk-x"
    )
    app = create_app(settings)
    await app(dict(SCOPE), receive, send)
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            await app(dict(SCOPE), receive, send)
        assert gc.collect() == 0
    finally:
        gc.enable()
