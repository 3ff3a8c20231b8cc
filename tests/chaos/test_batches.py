"""A batch whose worker is killed goes on in another one, and no line is answered twice."""

import json
import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from persistence.types import JSON
from tests.provider import ProviderProcess
from tests.server import Server, until

LINES = 3000
ENDED = ("completed", "failed", "expired", "cancelled")


def line(number: int) -> str:
    said = "script: " + json.dumps({"turns": [{"text": f"Answer {number}.", "wait": 0.04 * (number % 7)}]})
    body = {"model": "m", "messages": [{"role": "user", "content": said}]}
    return json.dumps(
        {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    )


def created(client: httpx.Client, text: str) -> str:
    file = client.post("/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", text)}).json()["id"]
    body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    id: str = client.post("/batches", json=body).json()["id"]
    return id


def lines_of(client: httpx.Client, file: str) -> list[JSON]:
    return [json.loads(each) for each in client.get(f"/files/{file}/content").text.splitlines()]


@pytest.mark.server
@pytest.mark.timeout(300)
def test_a_batch_survives_its_workers_with_each_line_answered_once(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    """Both workers are killed, twice, while the batch runs; the master replaces them."""
    environment = {"OPENAI_API_KEY": "sk-provider", "OPENAI_BASE_URL": provider.url}
    with Server(tmp_path, workers=2, **environment) as server, httpx.Client(timeout=60) as client:
        client.base_url = server.url
        id = created(client, "\n".join(map(line, range(LINES))))

        def completed() -> int:
            return int(batch()["request_counts"]["completed"])

        def batch() -> JSON:
            while True:
                try:
                    return dict(client.get(f"/batches/{id}").json())
                except httpx.TransportError:  # the worker of this connection was just killed
                    time.sleep(0.05)

        for least in (200, 1000):
            until(lambda least=least: completed() > least, seconds=60)
            assert batch()["status"] == "in_progress"
            for pid in server.workers():
                os.kill(pid, signal.SIGKILL)
        until(lambda: batch()["status"] in ENDED, seconds=120)
        ended = batch()
        assert ended["status"] == "completed"
        assert ended["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}
        assert ended["error_file_id"] is None
        lines = lines_of(client, ended["output_file_id"])
    assert sorted(each["custom_id"] for each in lines) == sorted(f"r{number}" for number in range(LINES))
    for each in lines:
        said = each["response"]["body"]["choices"][0]["message"]["content"]
        assert said == f"Answer {each['custom_id'][1:]}."
