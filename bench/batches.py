"""Batches: lines a second, memory, and the time until another worker goes on with a killed one's batch."""

import json
import os
import signal
import time
from collections.abc import Iterator

import httpx

from bench.figures import Figure, at_least, at_most
from bench.load import BenchFailed
from bench.measuring import MEGABYTE, cpu_seconds, memory, peak_rss, reset_peak
from bench.rig import Rig
from persistence.types import JSON
from tests.server import Server, until

LINES = 10_000
MOST_LINES = 50_000
LARGE_LINE = 4000
"""Characters of a line's message where the file has 200 MB."""

CHAT = "/v1/chat/completions"
SECONDS = 900.0


def lines(rig: Rig) -> Iterator[Figure]:
    """Measure a batch of short lines on a provider that answers at once, and one of 200 MB."""
    with rig.provider() as provider, rig.server("batches-server", provider) as server:
        (pid,) = server.workers()
        with client_of(server) as client:
            ended(client, create(client, 100))
            count = rig.scaled(LINES)
            id, began, cpu = create(client, count), time.monotonic(), cpu_seconds([pid])
            batch = ended(client, id)
            took, cpu = time.monotonic() - began, cpu_seconds([pid]) - cpu
            check(client, batch, count)
            yield Figure(
                f"a batch of {count:,} lines, one worker",
                count / took,
                "lines/s",
                cpu=cpu / count * 1e6,
                bar=at_least(500),
            )
            before = memory(pid).rss
            reset_peak(pid)
            count = rig.scaled(MOST_LINES)
            ended(client, create(client, count, "x" * LARGE_LINE))
            growth = (peak_rss(pid) - before) / MEGABYTE
            name = f"memory that a batch of {count:,} lines of 4 kB adds"
            yield Figure(name, growth, "MB", bar=at_most(50))


def takeover(rig: Rig) -> Iterator[Figure]:
    """Measure how long a batch stands still when the worker that runs it is killed."""
    count = rig.scaled(MOST_LINES)
    with rig.provider() as provider, rig.server("takeover-server", provider, workers=2) as server:
        with client_of(server) as client:
            id = create(client, count)
            until(lambda: completed(client, id) > count // 4, seconds=SECONDS)
            for pid in server.workers():
                os.kill(pid, signal.SIGKILL)
            killed, known = time.monotonic(), completed(client, id)
            until(lambda: completed(client, id) > known, seconds=SECONDS)
            seconds = time.monotonic() - killed
            check(client, ended(client, id), count)
        name = f"a killed worker's batch of {count:,} lines goes on, each answered once"
        yield Figure(name, seconds, "s", bar=at_most(20))


def client_of(server: Server) -> httpx.Client:
    """Return a client that survives the workers it is connected to."""
    return httpx.Client(base_url=server.url, timeout=300, headers={"connection": "close"})


def create(client: httpx.Client, count: int, text: str = "Why is the sky blue?") -> str:
    """Create a batch of that many lines; return its id."""
    body = {"model": "bench-1", "messages": [{"role": "user", "content": text}]}
    rest = json.dumps({"method": "POST", "url": CHAT, "body": body})[1:]
    file = "\n".join(f'{{"custom_id": "r{number}", {rest}' for number in range(count))
    upload = client.post("/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", file)})
    made = client.post(
        "/batches",
        json={"input_file_id": upload.json()["id"], "endpoint": CHAT, "completion_window": "24h"},
    )
    id: str = made.json()["id"]
    return id


def retrieve(client: httpx.Client, id: str) -> JSON:
    """Return a batch, from whichever worker answers."""
    while True:
        try:
            return dict(client.get(f"/batches/{id}").json())
        except httpx.TransportError:
            time.sleep(0.05)


def completed(client: httpx.Client, id: str) -> int:
    """Return how many lines of a batch are answered, asking ten times a second."""
    time.sleep(0.1)
    return int(retrieve(client, id)["request_counts"]["completed"])


def ended(client: httpx.Client, id: str) -> JSON:
    """Return a batch once it has ended; raise BenchFailed if it has failed."""
    deadline = time.monotonic() + SECONDS
    while (batch := retrieve(client, id))["status"] not in ("completed", "failed"):
        if time.monotonic() > deadline:
            raise BenchFailed(f"the batch has not ended within {SECONDS:.0f} s")
        time.sleep(0.1)
    if batch["status"] == "failed":
        raise BenchFailed(str(batch["errors"]))
    return batch


def check(client: httpx.Client, batch: JSON, count: int) -> None:
    """Raise BenchFailed unless each line is answered once."""
    if batch["request_counts"] != {"total": count, "completed": count, "failed": 0}:
        raise BenchFailed(str(batch["request_counts"]))
    with client.stream("GET", f"/files/{batch['output_file_id']}/content") as answer:
        ids = [json.loads(line)["custom_id"] for line in answer.iter_lines()]
    if len(ids) != count or len(set(ids)) != count:
        raise BenchFailed(f"{len(ids)} answers to {len(set(ids))} of {count} lines")
