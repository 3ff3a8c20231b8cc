"""The Cassandra store on a running node, next to the driver alone."""

import asyncio
import math
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import uvloop
from numpy.typing import NDArray

from bench.client import ask
from bench.figures import Figure, at_least, at_most, at_most_times
from bench.files import text
from bench.load import wrk
from bench.measuring import median_ratio, percentile
from bench.reads import ASSISTANT
from bench.rig import Rig
from bench.store import (
    BATCH,
    BEST,
    CHUNK_WORDS,
    CLUSTERS,
    DIMENSIONS,
    PROJECT,
    QUERIES,
    QUERY_WORDS,
    VECTOR_STORE,
    Floats,
    recall,
    seconds,
    texts,
)
from bench.trips import TEXT_BYTES, InProcess
from bench.writes import PAGE, early_and_late, fill, stored
from persistence.cassandra import from_url
from persistence.cassandra.reading import GET
from persistence.cassandra.retrieval import ROWS as TEXT_ROWS
from persistence.cassandra.store import CassandraStore
from persistence.cassandra.vectors import NEAREST
from persistence.cassandra.vectors import ROWS as VECTOR_ROWS
from persistence.store import Chunk, Insert, Key
from serving.auth import OPEN_PROJECT

MESSAGES_AT_ONCE = 50
"""Messages per write: on Cassandra a write is one transaction on one partition."""

DEPTH = 50
"""Results per search, as the API requests them."""

SHOWN = 10_000
"""Chunks between two lines of progress."""


@contextmanager
def keyspace(rig: Rig) -> Iterator[str]:
    """Yield the URL of a new keyspace on the given node, and drop it afterwards."""
    url = f"{rig.cassandra}/bench_{secrets.token_hex(4)}?rf=1"
    uvloop.run(from_url(url).migrate())
    try:
        yield url
    finally:
        uvloop.run(drop(url))


async def drop(url: str) -> None:
    """Drop a keyspace."""
    async with opened(url) as store:
        await store.connection.execute_ddl(f"DROP KEYSPACE {store.target.keyspace}")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[CassandraStore]:
    """Yield an open store on an existing keyspace."""
    store = from_url(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def reads(rig: Rig) -> Iterator[Figure]:
    """Measure a read by the store, next to the driver's read of the same rows."""
    with keyspace(rig) as url:
        pairs = uvloop.run(get_times(url, rig.scaled(2000)))
    ours, theirs = (statistics.median(side) * 1000 for side in zip(*pairs, strict=True))
    ratio, bar = median_ratio(pairs), at_most_times(1.5)
    yield Figure("Cassandra: get a document, p50", ours, "ms", "driver alone", theirs, ratio, bar=bar)


def over_http(rig: Rig) -> Iterator[Figure]:
    """Measure GET through the API and the pages of a long thread."""
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
    """Return the seconds of a read by the store and of the same statement by the driver, alternating."""
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
    """Insert `count` messages into a thread."""
    async with opened(url) as store:
        await fill(store, thread, count, MESSAGES_AT_ONCE)


def vectors(rig: Rig) -> Iterator[Figure]:
    """Insert 100,000 chunks and search them by vectors, by words, and by both as the API does."""
    count = rig.scaled(100_000)
    with keyspace(rig) as url:
        found = uvloop.run(searched(url, count, rig.say))
        yield from search_figures(found, count)


def search_figures(found: "Searched", count: int) -> Iterator[Figure]:
    """Figures of a vector store with many chunks."""
    yield Figure("Cassandra: chunks of 100 words put with their vectors", found.rate, "/s")
    ours, theirs = zip(*found.near, strict=True)
    name = f"Cassandra: search {count:,} chunks"
    yield Figure(f"{name} by vectors, p50", percentile(ours, 0.5) * 1000, "ms")
    yield Figure(
        f"{name} by vectors, p95",
        percentile(ours, 0.95) * 1000,
        "ms",
        "driver alone",
        percentile(theirs, 0.95) * 1000,
        median_ratio(found.near),
        bar=at_most(100),
    )
    yield Figure(f"… recall@{BEST} against all compared", found.recall, "", bar=at_least(0.9))
    for what, times in (("words", found.words), ("words and vectors", found.both)):
        yield Figure(f"{name} by {what}, p50", percentile(times, 0.5) * 1000, "ms")
        yield Figure(f"{name} by {what}, p95", percentile(times, 0.95) * 1000, "ms", bar=at_most(100))


@dataclass(slots=True)
class Searched:
    """Chunks inserted per second; seconds of searches (vector search paired with the driver's); recall."""

    rate: float = 0.0
    near: list[tuple[float, float]] = field(default_factory=list)
    words: list[float] = field(default_factory=list)
    both: list[float] = field(default_factory=list)
    recall: float = 0.0


async def searched(url: str, count: int, say: Callable[[str], None]) -> Searched:
    """Insert the chunks, wait until Cassandra has compacted its files, and search."""
    draw = np.random.default_rng(7)
    centers = draw.normal(size=(CLUSTERS, DIMENSIONS))
    kept, probes = directions(draw, centers, count), directions(draw, centers, QUERIES)
    result = Searched()
    async with opened(url) as store:
        result.rate = await put(store, kept, draw, say)
        await merged(store, say)
        queries = texts(draw, QUERIES, QUERY_WORDS)
        hits: list[set[int]] = []

        async def near(probe: Floats) -> None:
            found = await store.search_vectors(PROJECT, VECTOR_STORE, probe.tolist(), DEPTH)
            hits.append({hit.index for hit in found[:BEST]})

        async def words(query: str) -> None:
            await store.search_text(PROJECT, VECTOR_STORE, query, DEPTH)

        async def both(query: str, probe: Floats) -> None:
            await asyncio.gather(words(query), near(probe))

        await seconds([partial(both, *one) for one in zip(queries, probes, strict=True)])  # warms up
        hits.clear()
        shards = await shards_of(store)
        for probe in probes:
            [ours] = await seconds([partial(near, probe)])
            result.near.append((ours, driver_seconds(store, shards, probe)))
        result.recall = recall(hits, kept, probes)
        result.words = await seconds([partial(words, query) for query in queries])
        result.both = await seconds([partial(both, *one) for one in zip(queries, probes, strict=True)])
    return result


def directions(draw: np.random.Generator, centers: NDArray[np.float64], count: int) -> Floats:
    """Return vectors of length one around the centers, as embedding models produce."""
    vectors = centers[draw.integers(0, len(centers), count)] + draw.normal(size=(count, DIMENSIONS))
    directed: Floats = (vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype("f4")
    return directed


async def put(
    store: CassandraStore, vectors: Floats, draw: np.random.Generator, say: Callable[[str], None]
) -> float:
    """Insert a chunk per vector, file by file; return chunks per second."""
    began = time.monotonic()
    for start in range(0, len(vectors), BATCH):
        if start and start % SHOWN == 0:
            rate = start / (time.monotonic() - began)
            say(
                f"{start:,} of {len(vectors):,} chunks, {rate:.0f}/s, {(len(vectors) - start) / rate:.0f} s left"
            )
        chunks = [
            Chunk(start + n, text, vectors[start + n].tolist())
            for n, text in enumerate(texts(draw, min(BATCH, len(vectors) - start), CHUNK_WORDS))
        ]
        await store.put_chunks(PROJECT, VECTOR_STORE, f"file-{start}", chunks, {"start": start})
    return len(vectors) / (time.monotonic() - began)


async def merged(store: CassandraStore, say: Callable[[str], None]) -> None:
    """Wait until Cassandra compacts nothing of the keyspace."""
    began, quiet = time.monotonic(), 0
    while quiet < 3:
        tasks = await store.connection.run("SELECT keyspace_name FROM system_views.sstable_tasks")
        quiet = 0 if (store.target.keyspace,) in tasks else quiet + 1
        await asyncio.sleep(1)
    say(f"merged in {time.monotonic() - began:.0f} s")


async def shards_of(store: CassandraStore) -> int:
    """Return the number of shards that hold the vectors."""
    query = "SELECT shard FROM sources WHERE project=? AND store=? AND file=''"
    [(last,)] = await store.connection.run(query, (PROJECT, VECTOR_STORE))
    return int(last) + 1


def driver_seconds(store: CassandraStore, shards: int, probe: Floats) -> float:
    """Return the seconds of the index's statements by the driver, all shards at once."""
    session = store.connection.session
    prepared = session.prepare(NEAREST.format(DIMENSIONS))
    sought = probe.tolist()
    began = time.perf_counter()
    answers = [
        session.execute_async(prepared.bind((sought, PROJECT, VECTOR_STORE, shard, sought, DEPTH)))
        for shard in range(shards)
    ]
    for answer in answers:
        answer.result()
    return time.perf_counter() - began


def ingestion(rig: Rig) -> Iterator[Figure]:
    """Count the statements of a text of 273 kB from the end of its upload to its last chunk."""
    with keyspace(rig) as url, rig.provider(1) as provider:
        app = InProcess(rig.room("cassandra-ingestion"), provider.url, url)
        sent, chunks = uvloop.run(statements_of_a_text(app))
        carrying = math.ceil(chunks / VECTOR_ROWS) + math.ceil(chunks / TEXT_ROWS)
        name = f"Cassandra: statements of a text of {TEXT_BYTES // 1000} kB besides its {chunks} chunks"
        yield Figure(name, sent - carrying, "", bar=at_most(60))


async def statements_of_a_text(app: InProcess) -> tuple[int, int]:
    """Return the statements until it is searchable, minus those of an idle server, and its chunks.

    A first text has made the tables.
    """
    async with app.running():
        store = app.store.store
        assert isinstance(store, CassandraStore)
        vector_store = (await app.ask("POST", "/v1/vector_stores", {}))["id"]
        small, book = [await app.upload(text(size)) for size in (TEXT_BYTES // 10, TEXT_BYTES)]
        await app.ingest(vector_store, small)
        before, began = store.connection.sent, time.monotonic()
        polls = await app.ingest(vector_store, book)
        after, took = store.connection.sent, time.monotonic() - began
        await app.ask("GET", f"/v1/vector_stores/{vector_store}/files/{book}")
        poll = store.connection.sent - after
        chunks = await store.read_chunks(OPEN_PROJECT, vector_store, book, limit=5000)
        idle = store.connection.sent
        await asyncio.sleep(took)
        idle = store.connection.sent - idle
    return after - before - polls * poll - idle, len(chunks)
