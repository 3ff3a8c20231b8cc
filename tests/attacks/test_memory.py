"""What a worker keeps of large requests once they are answered."""

from pathlib import Path

import httpx
import pytest

from tests.server import Server, until

pytestmark = pytest.mark.server

BODY = b'{"metadata": 5, "messages": [{"role": "user", "content": "%s"}]}' % (b"x" * 30_000_000)


def resident(server: Server) -> int:
    """Bytes of memory of the server's one worker."""
    (worker,) = server.workers()
    return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * 4096


def test_a_worker_returns_the_memory_of_large_bodies(tmp_path: Path) -> None:
    with Server(tmp_path, workers=1, OPENAI_API_KEY="sk-x") as server:
        httpx.post(f"{server.url}/threads", json={}, headers={"Authorization": "Bearer any"})
        before = resident(server)
        for _ in range(5):
            answer = httpx.post(
                f"{server.url}/threads", content=BODY, headers={"Authorization": "Bearer any"}
            )
            assert answer.status_code == 400
        until(lambda: resident(server) - before < 20_000_000, seconds=10)


def test_a_worker_returns_the_memory_of_objects_that_the_store_refuses(tmp_path: Path) -> None:
    url = b"data:image/png;base64," + b"iVBORw0K" * 2_500_000
    body = b'{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "%s"}}]}' % url
    key = {"Authorization": "Bearer any"}
    with Server(tmp_path, workers=1, OPENAI_API_KEY="sk-x") as server:
        thread = httpx.post(f"{server.url}/threads", json={}, headers=key).json()["id"]
        before = resident(server)
        for _ in range(3):
            answer = httpx.post(
                f"{server.url}/threads/{thread}/messages", content=body, headers=key, timeout=60
            )
            assert answer.json()["error"]["code"] == "object_too_large"
        until(lambda: resident(server) - before < 30_000_000, seconds=10)
