"""The cluster store on a running Cassandra node, against the driver by itself."""

import asyncio
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvloop

from astrolabe_server.bench.client import ask
from astrolabe_server.bench.figures import Figure, at_least, at_most, at_most_times
from astrolabe_server.bench.load import wrk
from astrolabe_server.bench.measuring import median_ratio, percentile
from astrolabe_server.bench.reads import ASSISTANT
from astrolabe_server.bench.rig import Rig
from astrolabe_server.bench.store import BEST, PROJECT, search_times
from astrolabe_server.bench.writes import PAGE, early_and_late, fill, stored
from astrolabe_server.persistence.cassandra import from_url
from astrolabe_server.persistence.cassandra.reading import GET
from astrolabe_server.persistence.cassandra.store import CassandraStore
from astrolabe_server.persistence.store import Insert, Key

MESSAGES_AT_ONCE = 50
"""Messages of one write: on a cluster it is one transaction of one partition."""


@contextmanager
def keyspace(rig: Rig) -> Iterator[str]:
    """The URL of a keyspace of the bench's own on the node that was named; it is dropped afterwards."""
    url = f"{rig.cassandra}/bench_{secrets.token_hex(4)}?rf=1"
    uvloop.run(from_url(url).migrate())
    try:
        yield url
    finally:
        uvloop.run(drop(url))


async def drop(url: str) -> None:
    """Drop a keyspace."""
    async with opened(url) as store:
        await store.connection.define(f"DROP KEYSPACE {store.target.keyspace}")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[CassandraStore]:
    """A store of a keyspace that was made."""
    store = from_url(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def reads(rig: Rig) -> Iterator[Figure]:
    """The store's read against the driver's own of the same rows."""
    with keyspace(rig) as url:
        pairs = uvloop.run(get_times(url, rig.scaled(2000)))
    ours, theirs = (statistics.median(side) * 1000 for side in zip(*pairs, strict=True))
    ratio, bar = median_ratio(pairs), at_most_times(1.5)
    yield Figure("Cassandra: get a document, p50", ours, "ms", "driver alone", theirs, ratio, bar=bar)


def over_http(rig: Rig) -> Iterator[Figure]:
    """GET by the API, and a long thread by pages."""
    count = rig.scaled(10_000)
    with keyspace(rig) as url, rig.server("cassandra", ASTROLABE_STORE=url) as server:
        made = asyncio.run(ask(server.port, "POST", "/v1/assistants", ASSISTANT))
        path = f"{server.root}/v1/assistants/{made['id']}"
        got = wrk(path, rig.seconds, connections=1, pids=server.workers())
        yield Figure(
            "Cassandra: GET one assistant, p50", got.p50, "ms", cpu=got.rate.cpu_each, bar=at_most(5)
        )
        thread = asyncio.run(ask(server.port, "POST", "/v1/threads", {}))["id"]
        uvloop.run(seed(url, thread, count))
        early, late, ratio = uvloop.run(early_and_late(server.port, f"/v1/threads/{thread}/messages"))
    name = f"Cassandra: {count:,} messages by pages of {PAGE}: a late page against an early one"
    yield Figure(name, late, "ms", "early", early, ratio, bar=at_most_times(1.3))


async def get_times(url: str, count: int) -> list[tuple[float, float]]:
    """Seconds of a read by the store and of the same statement by the driver, by turns."""
    pairs = []
    async with opened(url) as store:
        value = stored("thread_bench")
        key = Key(PROJECT, "messages", value["id"])
        await store.write(Insert(key, value, parent="thread_bench"))
        session = store.connection.session
        bound = session.prepare(GET).bind((key.project, key.id))
        for place in range(count):
            began = time.perf_counter()
            await store.get(key)
            between = time.perf_counter()
            session.execute(bound)
            if place >= count // 10:  # the first ones warm up
                pairs.append((between - began, time.perf_counter() - between))
    return pairs


async def seed(url: str, thread: str, count: int) -> None:
    """Put so many messages into a thread."""
    async with opened(url) as store:
        await fill(store, thread, count, MESSAGES_AT_ONCE)


def vectors(rig: Rig) -> Iterator[Figure]:
    """Words and vectors of 100,000 chunks."""
    count = rig.scaled(100_000)
    with keyspace(rig) as url:
        times, _, recall = uvloop.run(search(url, count))
    name = f"Cassandra: search {count:,} chunks by words and vectors, p95"
    yield Figure(name, percentile(times, 0.95) * 1000, "ms", bar=at_most(100))
    yield Figure(f"… recall@{BEST} of the vectors", recall, "", bar=at_least(0.9))


async def search(url: str, count: int) -> tuple[list[float], float, float]:
    """Seconds of hybrid searches, of the first of them, and their recall."""
    async with opened(url) as store:
        return await search_times(store, count)
