"""Runs: the time that the engine adds to the provider's, and many runs at once."""

import asyncio
import json
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import uvloop

from bench.client import Answer, Connection, ask, each_in_turn, request
from bench.figures import Bar, Figure, at_most
from bench.load import BenchFailed, wrk
from bench.measuring import alternate, percentile
from bench.relay import PATH
from bench.rig import Rig
from persistence.types import JSON

CREATE = "/v1/threads/runs"
QUESTION = {"role": "user", "content": "Why is the sky blue?"}
CHUNKS = 20
MODEL = f"bench-{CHUNKS}"
DIRECT = "provider, direct"


def script(**turn: Any) -> JSON:
    """Return a message that holds a script for the loopback provider."""
    return {"role": "user", "content": f"script: {json.dumps({'turns': [turn]})}"}


def thread_and_run(assistant: str, message: JSON, *, stream: bool) -> bytes:
    """Return the request that creates a thread with one message and runs an assistant on it."""
    body = {"assistant_id": assistant, "thread": {"messages": [message]}, "stream": stream}
    return request("POST", CREATE, body)


def make_assistant(port: int, model: str) -> str:
    """Create an assistant and return its id."""
    made = asyncio.run(ask(port, "POST", "/v1/assistants", {"model": model, "instructions": "Be brief."}))
    return str(made["id"])


def overhead(rig: Rig) -> Iterator[Figure]:
    """Measure what a streamed run adds to the provider's stream, for an instant and for a slow stream."""
    paced = script(text="word " * CHUNKS, chunks=CHUNKS, delay=0.01)
    with rig.provider(1) as provider, rig.server("overhead-server", provider) as server:
        ports = server.port, provider.port
        assistant = make_assistant(server.port, MODEL)
        at_once = both_streams(ports, assistant, MODEL, QUESTION, 10)
        at_once[0]()
        pairs = alternate(3 * rig.rounds, *at_once)
        assistant = make_assistant(server.port, "gpt-4o")
        paced_pairs = alternate(rig.rounds, *both_streams(ports, assistant, "gpt-4o", paced, 5))
    yield added("a streamed run adds to its provider's time, p50", pairs, "seconds", at_most(5))
    yield added("… to the first byte, p50", pairs, "first")
    yield added("… to that of a provider that takes its time, p50", paced_pairs, "seconds", at_most(5))


def both_streams(
    ports: tuple[int, int], assistant: str, model: str, message: JSON, count: int
) -> tuple[Callable[[], list[Answer]], Callable[[], list[Answer]]]:
    """Measure streamed runs and the same answers from the provider directly."""
    run = thread_and_run(assistant, message, stream=True)
    plain = request("POST", PATH, {"model": model, "messages": [message], "stream": True})
    return partial(whole_answers, ports[0], [run] * count), partial(whole_answers, ports[1], [plain] * count)


def added(
    name: str, pairs: list[tuple[list[Answer], list[Answer]]], of: str, bar: Bar | None = None
) -> Figure:
    """Return the figure of what the server adds: the difference of the medians in milliseconds."""
    ours, theirs = (
        statistics.median(1000 * getattr(answer, of) for answers in side for answer in answers)
        for side in zip(*pairs, strict=True)
    )
    return Figure(name, ours - theirs, "ms", DIRECT, theirs, bar=bar)


def whole_answers(port: int, requests: list[bytes]) -> list[Answer]:
    """Request streams one after the other and return the responses; all must be complete."""
    answers: list[Answer] = uvloop.run(each_in_turn(port, requests))
    if not all(answer.is_whole for answer in answers):
        raise BenchFailed(f"a stream broke off: {answers[0].status} {answers[0].body!r}")
    return answers


def background(rig: Rig) -> Iterator[Figure]:
    """Measure 100 background runs at once in one worker; the provider takes 2 s for each."""
    count, waits = 100, 2.0
    with rig.provider(1) as provider, rig.server("background-server", provider) as server:
        assistant = make_assistant(server.port, "gpt-4o")
        run = thread_and_run(assistant, script(text="Because.", wait=waits), stream=False)
        seconds = uvloop.run(all_completed(server.port, run, count))
    name = f"{count} background runs at once, provider takes {waits:.0f} s"
    yield Figure(name, seconds, "s", "one run of it", waits, seconds / waits, bar=at_most(4))


async def all_completed(port: int, run: bytes, count: int) -> float:
    """Return the seconds until `count` runs, started at once, are completed, as polling sees it."""
    began = time.perf_counter()

    async def one() -> None:
        async with Connection(port) as connection:
            made = (await connection.send(run)).json()
            poll = request("GET", f"/v1/threads/{made['thread_id']}/runs/{made['id']}")
            while made["status"] in ("queued", "in_progress"):
                await asyncio.sleep(0.25)
                made = (await connection.send(poll)).json()
            if made["status"] != "completed":
                raise BenchFailed(f"a run ended as {made['status']}: {made['last_error']}")

    await asyncio.gather(*(one() for _ in range(count)))
    return time.perf_counter() - began


def open_runs(rig: Rig) -> Iterator[Figure]:
    """Measure the polling of a run next to 500 streamed runs in one process."""
    count, seconds = rig.scaled(500), 8.0
    with rig.provider(1) as provider, rig.server("open-runs-server", provider) as server:
        assistant = make_assistant(server.port, "gpt-4o")
        (made,) = asyncio.run(each_in_turn(server.port, [thread_and_run(assistant, QUESTION, stream=False)]))
        polled = made.json()
        url = f"{server.root}/v1/threads/{polled['thread_id']}/runs/{polled['id']}"
        pieces = int(seconds * 2)
        message = script(text="word " * pieces, chunks=pieces, delay=0.5)
        run = thread_and_run(assistant, message, stream=True)
        alone = wrk(url, 2, connections=1, pids=server.workers())
        answers, beside = asyncio.run(beside_runs(server.port, run, count, url))
    if not all(answer.is_whole for answer in answers):
        raise BenchFailed("not every stream of a run came to its end")
    firsts = [answer.first for answer in answers]
    yield Figure("poll a run (one read of the store), p50", alone.p50, "ms", cpu=alone.rate.cpu_each)
    name = f"… beside {count} open streams of runs in one process, p99"
    yield Figure(name, beside.p99, "ms", "without them", alone.p99, bar=at_most(50))
    yield Figure(f"{count} streams of runs opened at once: first event, p99", percentile(firsts, 0.99), "s")


async def beside_runs(port: int, run: bytes, count: int, url: str) -> tuple[list[Answer], Any]:
    """Open `count` streamed runs and poll meanwhile."""
    opened = [asyncio.create_task(each_in_turn(port, [run])) for _ in range(count)]
    await asyncio.sleep(3)  # until all are open
    if any(task.done() for task in opened):
        raise BenchFailed("streams ended before the polling began")
    load = await asyncio.to_thread(wrk, url, 3, connections=1)
    return [answer for (answer,) in await asyncio.gather(*opened)], load
