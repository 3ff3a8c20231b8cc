"""The local embedding model: how fast files are ingested with it, and what a search waits meanwhile."""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from openai import AsyncOpenAI

from bench.figures import Figure, at_least, at_most
from bench.load import BenchFailed
from bench.measuring import TICKS, percentile
from bench.rig import Rig
from inference.local.models import LocalModels
from tests.server import Server

ABSTRACT_WORDS = 300
"""Words of a document, about 335 tokens: a scientific abstract."""

NOTE_WORDS = 12
WORDS = (
    *("cell", "protein", "growth", "factor", "receptor", "expression", "clinical", "patient", "trial"),
    *("tumor", "gene", "membrane", "signal", "pathway", "kinase", "inhibitor", "therapy", "survival"),
    *("risk", "cohort", "marker", "assay", "culture", "infection", "immune", "antibody", "vaccine"),
)


def local_ingestion(rig: Rig) -> Iterator[Figure]:
    """Measure abstracts that are ingested in a second, and the processor time that each takes."""
    count = rig.scaled(600)
    with _server(rig, "local-ingestion") as server:
        seconds, cpu = asyncio.run(_ingest_abstracts(server, count))
    name = f"ingest {count} abstracts of 335 tokens with the local embedding model"
    yield Figure(name, count / seconds, "/s", bar=at_least(3 * 5.8))
    yield Figure("… processor time of each, of all processes", 1000 * cpu / count, "ms")


def query_latency(rig: Rig) -> Iterator[Figure]:
    """Measure searches, one after the other, while 5,000 small files are ingested."""
    count = rig.scaled(5000)
    with _server(rig, "query-latency") as server:
        seconds = asyncio.run(_search_meanwhile(server.url, count))
    name = f"search while {count:,} small files are ingested by the local model: p95"
    yield Figure(name, 1000 * percentile(seconds, 0.95), "ms", bar=at_most(150))
    yield Figure("… p50", 1000 * percentile(seconds, 0.5), "ms")
    yield Figure("… searches during the ingestion", len(seconds), "")


@contextmanager
def _server(rig: Rig, name: str) -> Iterator[Server]:
    """Yield a server of two workers with the local models alone."""
    if LocalModels.missing():
        raise BenchFailed(f"not installed: {', '.join(LocalModels.missing())}")
    with Server(rig.room(name)) as server:
        yield server


def _cpu_seconds(server: Server) -> float:
    """Return the processor time of the server's process and its descendants, ended ones included."""
    assert server.process is not None
    pids, ticks = [server.process.pid], 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):  # it ends just now
            for task in Path(f"/proc/{pid}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / TICKS


def _text(words: int, seed: int) -> str:
    """Return a text of so many words that no other seed has."""
    return " ".join(
        [f"Document {seed}.", *(WORDS[(seed * 31 + n * n * 7 + n) % len(WORDS)] for n in range(words))]
    )


async def _upload(client: AsyncOpenAI, texts: Sequence[str]) -> list[str]:
    """Upload each text as a file, sixteen at a time."""
    slots = asyncio.Semaphore(16)

    async def one(number: int, text: str) -> str:
        async with slots:
            file = await client.files.create(file=(f"{number}.txt", text.encode()), purpose="assistants")
        return str(file.id)

    return await asyncio.gather(*(one(number, text) for number, text in enumerate(texts)))


async def _fill(client: AsyncOpenAI, texts: Sequence[str]) -> str:
    """Create a vector store and start the ingestion of a file for each text; return its id."""
    return await _ingest(client, await _upload(client, texts))


async def _ingest(client: AsyncOpenAI, files: Sequence[str]) -> str:
    """Create a vector store and start the ingestion of files; return its id."""
    store = await client.vector_stores.create()
    for start in range(0, len(files), 500):
        batch = list(files[start : start + 500])
        await client.vector_stores.file_batches.create(store.id, file_ids=batch)
    return str(store.id)


async def _in_progress(client: AsyncOpenAI, store: str) -> bool:
    counts = (await client.vector_stores.retrieve(store)).file_counts
    if counts.failed:
        raise BenchFailed(f"{counts.failed} files were not ingested")
    return bool(counts.in_progress)


async def _ingest_abstracts(server: Server, count: int) -> tuple[float, float]:
    """Return the seconds and the CPU seconds that it takes to ingest so many uploaded abstracts."""
    async with AsyncOpenAI(base_url=server.url, api_key="bench") as client:
        await _settle(client, await _fill(client, [_text(ABSTRACT_WORDS, 0)]))  # loads the model
        files = await _upload(client, [_text(ABSTRACT_WORDS, n) for n in range(1, count + 1)])
        before, began = _cpu_seconds(server), time.perf_counter()
        await _settle(client, await _ingest(client, files))
        return time.perf_counter() - began, _cpu_seconds(server) - before


async def _settle(client: AsyncOpenAI, store: str) -> None:
    while await _in_progress(client, store):
        await asyncio.sleep(0.1)


async def _search_meanwhile(url: str, count: int) -> list[float]:
    """Return the seconds of each search until the last file is ingested."""
    async with AsyncOpenAI(base_url=url, api_key="bench", timeout=60) as client:
        await _settle(client, await _fill(client, [_text(NOTE_WORDS, 0)]))
        store = await _fill(client, [_text(NOTE_WORDS, n) for n in range(1, count + 1)])
        seconds: list[float] = []
        while len(seconds) % 10 or await _in_progress(client, store):
            began = time.perf_counter()
            await client.vector_stores.search(store, query=f"what is known of document {len(seconds)}?")
            seconds.append(time.perf_counter() - began)
    return seconds
