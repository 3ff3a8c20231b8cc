"""The SQLite store without a server: documents, chunks, contents."""

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import numpy as np
import uvloop
from numpy.typing import NDArray

from bench.figures import Figure, at_least, at_most, at_most_times
from bench.measuring import alternate, median_ratio, percentile
from bench.rig import Rig
from bench.writes import Commits, stored
from persistence.engines import open_store
from persistence.store import Chunk, Insert, Key, Store, child_id

PROJECT, VECTOR_STORE = "proj_bench", "vs_bench"
WRITERS = 50
DIMENSIONS, CLUSTERS, BATCH = 384, 500, 1000
CHUNK_WORDS, QUERY_WORDS, VOCABULARY = 100, 8, 200_000
QUERIES, BEST = 100, 10
PIECE, MEGABYTE = 256 * 1024, 1_000_000

Floats = NDArray[np.float32]


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Store]:
    """Yield an open store in a folder."""
    store = open_store(f"sqlite:///{path}/astrolabe.db")
    await store.migrate()
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def documents(rig: Rig) -> Iterator[Figure]:
    """Measure point reads, and durable writes alone and from many tasks."""
    commits = Commits(rig.room("store-commits") / "bare.db")
    get, alone, together = uvloop.run(document_times(rig, rig.room("store-documents"), commits))
    yield Figure("store: get one of 20,000 documents", statistics.median(get) * 1e6, "µs")
    yield Figure(
        "store: one durable write",
        statistics.median(ours for ours, _ in alone) * 1000,
        "ms",
        "fsynced commit of SQLite",
        statistics.median(peer for _, peer in alone) * 1000,
        median_ratio(alone),
        bar=at_most_times(3),
    )
    yield Figure(f"store: durable writes, {WRITERS} tasks", together, "/s", bar=at_least(5000))


async def document_times(
    rig: Rig, room: Path, commits: Commits
) -> tuple[list[float], list[tuple[float, float]], float]:
    """Return seconds of gets; pairs of medians of a write and a bare commit; writes per second of many tasks."""
    async with opened(room) as store:
        values = iter([stored("thread_bench") for _ in range(21_000)])
        keys: list[Key] = []

        async def write() -> None:
            value = next(values)
            keys.append(Key(PROJECT, "messages", child_id("thread_bench", value["id"])))
            await store.write(Insert(keys[-1], value, parent="thread_bench"))

        async def until(count: int) -> None:
            while len(keys) < count:
                await write()

        alone = []
        for _ in range(2 * rig.rounds):
            ours = await seconds([write] * 50)
            alone.append((statistics.median(ours), statistics.median(commits.run(50))))
        before = len(keys)
        began = time.perf_counter()
        await asyncio.gather(*(until(20_000 - WRITERS) for _ in range(WRITERS)))
        together = (len(keys) - before) / (time.perf_counter() - began)
        get = await seconds([partial(store.get, key) for key in keys[::4]])
    return get, alone, together


async def seconds(calls: list[Callable[[], Awaitable[object]]]) -> list[float]:
    """Return the seconds of each call, one after the other."""
    times = []
    for call in calls:
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    return times


def search(rig: Rig) -> Iterator[Figure]:
    """Measure hybrid search over 100,000 chunks."""
    count = rig.scaled(100_000)
    times, first, recall = uvloop.run(sqlite_search(rig.room("store-search"), count))
    name = f"store: search {count:,} chunks by words and vectors"
    yield Figure(f"{name}, p50", percentile(times, 0.5) * 1000, "ms")
    yield Figure(f"{name}, p95", percentile(times, 0.95) * 1000, "ms", bar=at_most(50))
    yield Figure("… the first after a start, which reads the vectors", first * 1000, "ms")
    yield Figure(f"… recall@{BEST} of the vectors", recall, "", bar=at_least(0.95))


async def sqlite_search(room: Path, count: int) -> tuple[list[float], float, float]:
    """Search the SQLite store: as search_times."""
    async with opened(room) as store:
        return await search_times(store, count)


async def search_times(store: Store, count: int) -> tuple[list[float], float, float]:
    """Return the seconds of hybrid searches, of the first one, and the recall."""
    draw = np.random.default_rng(7)
    centers = draw.normal(size=(CLUSTERS, DIMENSIONS))
    vectors = (centers[draw.integers(0, CLUSTERS, count)] + draw.normal(size=(count, DIMENSIONS))).astype(
        "f4"
    )
    probes = (centers[draw.integers(0, CLUSTERS, QUERIES)] + draw.normal(size=(QUERIES, DIMENSIONS))).astype(
        "f4"
    )
    for start in range(0, count, BATCH):
        batch = [
            Chunk(start + n, text, vectors[start + n].tolist())
            for n, text in enumerate(texts(draw, BATCH, CHUNK_WORDS))
        ]
        await store.put_chunks(PROJECT, VECTOR_STORE, f"file-{start}", batch, {"start": start})
    found: list[set[int]] = []

    async def hybrid(query: str, vector: Floats) -> None:
        _, near = await asyncio.gather(
            store.search_text(PROJECT, VECTOR_STORE, query, 50),
            store.search_vectors(PROJECT, VECTOR_STORE, vector.tolist(), 50),
        )
        found.append({hit.index for hit in near[:BEST]})

    queries = texts(draw, QUERIES, QUERY_WORDS)
    times = await seconds([partial(hybrid, *both) for both in zip(queries, probes, strict=True)])
    return times[1:], times[0], recall(found, vectors, probes)


def texts(draw: np.random.Generator, count: int, words: int) -> list[str]:
    """Return texts whose words are distributed as in a language (Zipf's law)."""
    weights = 1 / (np.arange(VOCABULARY) + 3.7)
    rows = draw.choice(VOCABULARY, size=(count, words), p=weights / weights.sum())
    return [" ".join(f"w{word:x}q" for word in row) for row in rows]


def recall(found: list[set[int]], vectors: Floats, probes: Floats) -> float:
    """Return the share of the true nearest neighbors, by cosine, that were found."""
    lengths = np.linalg.norm(vectors, axis=1)
    right = 0
    for probe, hits in zip(probes, found, strict=True):
        nearest = np.argsort(-(vectors @ probe) / lengths)[:BEST]
        right += len(hits & set(nearest.tolist()))
    return right / (BEST * len(found))


def contents(rig: Rig) -> Iterator[Figure]:
    """Measure writing (durably) and reading a file's bytes, next to plain calls."""
    room = rig.room("store-contents")
    size = rig.scaled(200 * MEGABYTE) // PIECE * PIECE
    ours, peer = partial(content_seconds, room, size), partial(plain_seconds, room, size)
    pairs = alternate(rig.rounds, ours, peer)
    for place, what in enumerate(("write", "read")):
        rates = [(size / MEGABYTE / one[place], size / MEGABYTE / other[place]) for one, other in pairs]
        yield Figure(
            f"store: {what} contents of {size // MEGABYTE} MB",
            statistics.median(one for one, _ in rates),
            "MB/s",
            "plain system calls",
            statistics.median(other for _, other in rates),
            median_ratio(rates),
            bar=at_least(400),
        )


def content_seconds(room: Path, size: int) -> tuple[float, float]:
    """Return the seconds of writing and of reading through the store."""
    return uvloop.run(write_and_read(room, size))


async def write_and_read(room: Path, size: int) -> tuple[float, float]:
    """Measure it in an event loop."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(size // PIECE):
            yield piece

    piece = os.urandom(PIECE)
    async with opened(room) as store:
        began = time.perf_counter()
        await store.write_content(PROJECT, "file-1", pieces())
        written = time.perf_counter()
        async for _ in store.read_content(PROJECT, "file-1"):
            pass
        read = time.perf_counter()
        await store.delete_content(PROJECT, "file-1")
    return written - began, read - written


def plain_seconds(room: Path, size: int) -> tuple[float, float]:
    """Return the seconds of writing with an fsync, and of reading."""
    piece, path = os.urandom(PIECE), room / "plain"
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(size // PIECE):
            file.write(piece)
        os.fsync(file.fileno())
    written = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.read(PIECE):
            pass
    read = time.perf_counter()
    path.unlink()
    return written - began, read - written
