"""Models whose answers are long, or full of what costs time."""

import json
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.measuring import cpu_seconds
from inference.engine.turns import PIECE
from tests.attacks.reads import reads_meanwhile
from tests.provider import ProviderProcess
from tests.server import Server

pytestmark = pytest.mark.server

MAX_ANSWER = 400_000
STREAMS = 8
LONG = {"text": "x" * 1000, "repeat": 20_000, "chunks": 20_000}
"""20 MB in pieces of 1 kB."""

MARKS = 6000


@pytest.fixture
def bounded(tmp_path: Path, provider: ProviderProcess) -> Iterator[Server]:
    settings = {"ASTROLABE_MAX_ANSWER": str(MAX_ANSWER)}
    with Server(tmp_path, OPENAI_API_KEY="sk", OPENAI_BASE_URL=provider.url, **settings) as server:
        yield server


def script(tag: str, *turns: Any) -> dict[str, Any]:
    content = f"script: {json.dumps({'tag': tag, 'turns': turns})}"
    return {"messages": [{"role": "user", "content": content}]}


def events(answer: httpx.Response) -> list[tuple[str, Any]]:
    """The events of a stream."""
    blocks = answer.text.split("\n\n")[:-2]
    lines = [block.split("\n") for block in blocks]
    return [(name.removeprefix("event: "), json.loads(data[6:])) for _, name, data in lines]


def test_an_answer_ends_at_the_most_that_a_run_takes(
    bounded: Server, provider: ProviderProcess, tag: str
) -> None:
    def run(client: httpx.Client, assistant: str) -> list[tuple[str, Any]]:
        body = {"assistant_id": assistant, "thread": script(tag, LONG), "stream": True}
        return events(client.post("/threads/runs", json=body))

    with (
        httpx.Client(base_url=bounded.url, headers={"Authorization": "Bearer any"}, timeout=60) as client,
        ThreadPoolExecutor(STREAMS) as threads,
        reads_meanwhile(bounded) as reads,
    ):
        assistant = client.post("/assistants", json={"model": "gpt-4o"}).json()["id"]
        streams = list(threads.map(lambda _: run(client, assistant), range(STREAMS)))

    pieces = -(-MAX_ANSWER // (1000 + PIECE))
    length = MAX_ANSWER - PIECE * pieces
    for stream in streams:
        message = next(data for name, data in stream if name == "thread.message.incomplete")
        assert len(message["content"][0]["text"]["value"]) == length
        name, ended = stream[-1]
        assert name == "thread.run.incomplete"
        assert ended["incomplete_details"] == {"reason": "max_completion_tokens"}
    assert len(provider.received(tag)) == STREAMS, "no run was begun anew"
    print("reads", len(reads), statistics.median(reads), max(reads))
    assert statistics.median(reads) < 0.1


def test_six_thousand_citations_cost_less_than_two_seconds(
    server: Server, http: httpx.Client, tag: str
) -> None:
    text = "The sky is blue. Light of short waves is scattered most. " * 60
    file = http.post("/files", files={"file": ("sky.txt", text)}, data={"purpose": "assistants"}).json()["id"]
    store = http.post("/vector_stores", json={"file_ids": [file]}).json()["id"]
    while http.get(f"/vector_stores/{store}").json()["status"] != "completed":
        time.sleep(0.05)
    resources = {"file_search": {"vector_store_ids": [store]}}
    tools = [{"type": "file_search"}]
    assistant = http.post(
        "/assistants", json={"model": "gpt-4o", "tools": tools, "tool_resources": resources}
    ).json()["id"]
    search = {"calls": [{"name": "file_search", "arguments": {"queries": ["sky"]}}]}

    def run(marks: int) -> list[tuple[str, Any]]:
        answer = {"text": "It is blue \u30100:0\u2020sky.txt\u3011. ", "repeat": marks, "chunks": marks}
        body = {"assistant_id": assistant, "thread": script(tag, search, answer), "stream": True}
        return events(http.post("/threads/runs", json=body))

    for _ in range(4):  # each worker loads its tokenizer
        run(1)
    with reads_meanwhile(server) as reads:
        began, before = time.monotonic(), cpu_seconds(server.workers())
        stream = run(MARKS)
        took, cost = time.monotonic() - began, cpu_seconds(server.workers()) - before

    message = next(data for name, data in stream if name == "thread.message.completed")
    assert len(message["content"][0]["text"]["annotations"]) == MARKS
    print("took", took, "CPU", cost, "reads", len(reads), statistics.median(reads), max(reads))
    assert cost < 2
    assert statistics.median(reads) < 0.1
