"""Chat completions through the server, next to the same client asking the provider directly."""

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import orjson
import uvloop

from bench.client import Answer, Tally, each_in_turn, request, streams, timed
from bench.figures import Figure, at_least, at_most, rate_figure
from bench.load import BenchFailed, Load, wrk
from bench.measuring import Rate, alternate, percentile
from bench.rig import Rig

PATH = "/v1/chat/completions"
QUESTION = {"model": "bench-100", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
STREAM = request("POST", PATH, {**QUESTION, "stream": True})
CHUNKS = 100
DIRECT = "provider, direct"


def completions(rig: Rig) -> Iterator[Figure]:
    """Measure chat completions per second, not streamed."""
    body = rig.room("completions") / "body.json"
    body.write_bytes(orjson.dumps(QUESTION))
    with rig.provider() as provider, rig.server("completions-server", provider) as server:
        pids = server.workers()
        ask_server = partial(load, server.root, rig.seconds, pids, body)
        ask_provider = partial(load, provider.root, rig.seconds, [], body)
        load(server.root, 1, pids, body)
        pairs = alternate(rig.rounds, ask_server, ask_provider)
    rates = [(one.rate, other.rate) for one, other in pairs]
    yield rate_figure("chat completions relayed, 16 connections", rates, DIRECT, at_least(3000))


def load(root: str, seconds: float, pids: list[int], body: Path) -> Load:
    """Run one round of completions."""
    return wrk(root + PATH, seconds, pids=pids, body=body)


def relayed_streams(rig: Rig) -> Iterator[Figure]:
    """Measure streams of 100 chunks per second."""
    with rig.provider() as provider, rig.server("streams-server", provider) as server:
        pids = server.workers()
        ask_server = partial(stream_load, server.port, rig.seconds, pids, STREAM)
        ask_provider = partial(stream_load, provider.port, rig.seconds, [], STREAM)
        ask_server()
        pairs = alternate(rig.rounds, ask_server, ask_provider)
    yield rate_figure(f"streams of {CHUNKS} chunks relayed, 16 connections", pairs, DIRECT, at_least(700))


def stream_load(port: int, seconds: float, pids: list[int], body: bytes) -> Rate:
    """Run one round of streams and check the number of their events."""

    async def measure() -> tuple[Rate, Tally]:
        return await timed(pids, lambda: streams(port, body, 16, seconds))

    rate, tally = uvloop.run(measure())
    if tally.events < CHUNKS * tally.streams:
        raise BenchFailed(f"{tally.streams} streams of {CHUNKS} chunks came to only {tally.events} events")
    return rate


def first_byte(rig: Rig) -> Iterator[Figure]:
    """Measure the time that the server adds to the first byte of a stream."""
    count = rig.scaled(1000)
    with rig.provider(1) as provider, rig.server("first-byte-server", provider) as server:
        ask_server = partial(first_bytes, server.port, count // 10)
        ask_provider = partial(first_bytes, provider.port, count // 10)
        ask_server()
        pairs = alternate(10, ask_server, ask_provider)
    ours = [1000 * first for one, _ in pairs for first in one]
    theirs = [1000 * first for _, other in pairs for first in other]
    for share, bar in ((0.5, at_most(1.0)), (0.99, None)):
        added = percentile(ours, share) - percentile(theirs, share)
        name = f"added to the time to first byte, p{100 * share:.0f}"
        yield Figure(name, added, "ms", DIRECT, percentile(theirs, share), bar=bar)


def first_bytes(port: int, count: int) -> list[float]:
    """Return the seconds to the first byte of streams requested one after the other."""
    answers: list[Answer] = uvloop.run(each_in_turn(port, [STREAM] * count))
    if not all(answer.is_whole for answer in answers):
        raise BenchFailed("a stream did not come to its end")
    return [answer.first for answer in answers]


def open_streams(rig: Rig) -> Iterator[Figure]:
    """Measure a GET next to a thousand open streams in one process."""
    count, seconds = rig.scaled(1000), 6.0
    with rig.provider() as provider, rig.server("open-server", provider) as server:
        url, pids = f"{server.root}/v1/models/gpt-4o", server.workers()
        alone = wrk(url, 1, pids=pids, connections=1)
        tally, beside = asyncio.run(beside_streams(server.port, url, count, seconds))
    if tally.streams != count or tally.broken:
        raise BenchFailed(f"{tally.streams - tally.broken} of {count} streams came to their end")
    name = f"GET beside {count:,} open streams ({tally.events / seconds:,.0f} events/s), p99"
    yield Figure(name, beside.p99, "ms", "without them", alone.p99, bar=at_most(50))
    yield Figure("… p50", beside.p50, "ms", "without them", alone.p50)


async def beside_streams(port: int, url: str, count: int, seconds: float) -> tuple[Tally, Load]:
    """Open `count` streams with an event every half second, and load a GET meanwhile."""
    pieces = int(seconds * 2)
    script = {"turns": [{"text": "word " * pieces, "chunks": pieces, "delay": 0.5}]}
    question = {"role": "user", "content": f"script: {json.dumps(script)}"}
    body = request("POST", PATH, {"model": "gpt-4o", "messages": [question], "stream": True})
    opened = [asyncio.create_task(each_in_turn(port, [body])) for _ in range(count)]
    await asyncio.sleep(2)  # until all are open
    if any(task.done() for task in opened):
        raise BenchFailed("streams ended before the GETs began")
    load = await asyncio.to_thread(wrk, url, seconds / 2, connections=1)
    whole = Tally()
    for (answer,) in await asyncio.gather(*opened):
        whole.add(answer)
    return whole, load
