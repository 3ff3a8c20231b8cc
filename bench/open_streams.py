"""Thousands of open streams in one process: what they take, and how fast their chunks are passed on."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import uvloop

from bench.client import Answer, Connection, Tally, each_in_turn, request
from bench.figures import Figure, at_most
from bench.load import BenchFailed, Load, wrk
from bench.measuring import MEGABYTE, memory, percentile
from bench.relay import DIRECT, PATH
from bench.rig import Rig

STREAMS = 2000
CHUNK_SECONDS = 0.25
"""Between two chunks of a stream: 2,000 streams have 8,000 chunks a second."""

OPENING_SECONDS = 5.0
AT_ONCE = 100
"""Streams that are opened at the same time, every 50 ms."""

SENT_AT = re.compile(rb'"content": ?"(\d+\.\d+) "')


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
    body = stream_request(text="word " * pieces, chunks=pieces, delay=0.5)
    opened = [asyncio.create_task(each_in_turn(port, [body])) for _ in range(count)]
    await asyncio.sleep(2)  # until all are open
    if any(task.done() for task in opened):
        raise BenchFailed("streams ended before the GETs began")
    load = await asyncio.to_thread(wrk, url, seconds / 2, connections=1)
    whole = Tally()
    for (answer,) in await asyncio.gather(*opened):
        whole.add(answer)
    return whole, load


def passed_on(rig: Rig) -> Iterator[Figure]:
    """Measure 2,000 open streams in one process: its memory, and the delay of 8,000 chunks a second."""
    count, seconds = rig.scaled(STREAMS), 2 * rig.seconds
    with rig.provider() as provider, rig.server("passed-on-server", provider) as server:
        (pid,) = server.workers()
        uvloop.run(watched(server.port, AT_ONCE, 2, pid))  # what the first requests load is not the streams'
        before = memory(pid).rss
        direct = uvloop.run(watched(provider.port, count, seconds, pid))
        ours = uvloop.run(watched(server.port, count, seconds, pid))
    rate = len(ours.delays) / ours.seconds
    p50, p99 = (
        (1000 * percentile(ours.delays, share), 1000 * percentile(direct.delays, share))
        for share in (0.5, 0.99)
    )
    name = f"a chunk of {count:,} open streams is passed on ({rate:,.0f} chunks/s), p99"
    yield Figure(name, p99[0], "ms", DIRECT, p99[1], bar=at_most(50))
    yield Figure("… p50", p50[0], "ms", DIRECT, p50[1])
    rss = ours.rss / MEGABYTE
    yield Figure(f"a worker with {count:,} open streams, RSS", rss, "MB", bar=at_most(250))
    yield Figure("… memory of each stream", (ours.rss - before) / count / 1000, "kB")


def stream_request(**turn: object) -> bytes:
    """Return a request for a stream in which the model answers `turn`."""
    question = {"role": "user", "content": f"script: {json.dumps({'turns': [turn]})}"}
    return request("POST", PATH, {"model": "gpt-4o", "messages": [question], "stream": True})


@dataclass(frozen=True, slots=True)
class Watched:
    """Seconds from a chunk's sending by the provider to its arrival; the worker's memory, all streams open."""

    delays: list[float]
    seconds: float
    rss: int


class TimedConnection(Connection):
    """A connection that notes when each chunk was sent and for how long it was under way."""

    def __init__(self, port: int, arrivals: list[tuple[float, float]]) -> None:
        super().__init__(port)
        self._arrivals = arrivals

    def on_body(self, body: bytes) -> None:
        """Note each chunk; the few that are split between two reads are left out."""
        super().on_body(body)
        now = time.monotonic()
        self._arrivals += ((float(sent), now - float(sent)) for sent in SENT_AT.findall(body))


async def watched(port: int, count: int, seconds: float, pid: int) -> Watched:
    """Open streams, a hundred at once; note the delays of all chunks once the last is open."""
    pieces = int((OPENING_SECONDS + seconds) / CHUNK_SECONDS)
    body = stream_request(text="x" * pieces, chunks=pieces, delay=CHUNK_SECONDS, stamped=True)
    arrivals: list[tuple[float, float]] = []
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        answers: list[asyncio.Future[Answer]] = []
        while len(answers) < count:
            opening = (stack.enter_async_context(TimedConnection(port, arrivals)) for _ in range(AT_ONCE))
            answers += [connection.send(body) for connection in await asyncio.gather(*opening)]
            await asyncio.sleep(0.05)
        await asyncio.sleep(max(0.0, began + OPENING_SECONDS - time.monotonic()))
        since = time.monotonic()
        await asyncio.sleep(seconds - 1)
        until, rss = time.monotonic(), memory(pid).rss
        if any(answer.done() for answer in answers):
            raise BenchFailed("streams ended while they were watched")
        whole = Tally()
        for answer in await asyncio.gather(*answers):
            whole.add(answer)
    if whole.broken:
        raise BenchFailed(f"{whole.broken} of {count} streams did not come to their end")
    delays = [delay for sent, delay in arrivals if since <= sent < until]
    if len(delays) < 0.9 * count * (until - since) / CHUNK_SECONDS:
        raise BenchFailed(f"only {len(delays)} chunks of {count} streams arrived in {until - since:.0f} s")
    return Watched(delays, until - since, rss)
