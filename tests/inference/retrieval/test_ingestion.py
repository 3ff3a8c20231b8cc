"""What ingestion costs, and that no worker's death loses or doubles a chunk."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from openai import AsyncOpenAI

from handlers import files
from persistence.engines import open_store
from persistence.store import Chunk, Key, Store
from tests.inference.retrieval.library import Library, library_at, until
from tests.provider import ProviderProcess
from tests.server import Server

ROUND_TRIPS = 20
STATIC = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}


def text_of(size: int) -> str:
    random = Random(7)
    return " ".join(f"{random.randrange(100_000):x}" for _ in range(size // 5))[:size]


async def test_a_text_of_273_kilobytes_costs_at_most_twenty_round_trips(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    await library.ingest("warm up", "a.txt")
    words = "the harbour master wrote of storms and ships in the year of the great flood "
    file = await library.file((words * 4000)[:273_000])
    store = await library.vector_store()
    calls: Counter[str] = Counter()
    for name in ("get", "page", "write", "read_content", "put_chunks", "delete_chunks", "set_attributes"):
        monkeypatch.setattr(library.store, name, _counted(calls, name, getattr(library.store, name)))
    await library.attach(store["id"], file["id"])
    calls.clear()

    async def ingested() -> bool:
        return not library.queued("ingest")

    await until(ingested)
    # Polling and renewing are not the file's, but for the two times that it pulls the next along.
    assert calls.total() + 2 <= ROUND_TRIPS, calls


async def test_a_text_is_read_in_the_charset_that_its_upload_declared(library: Library) -> None:
    part = await library.uploaded("crème brûlée".encode("latin-1"), "a.txt")
    part = replace(part, content_type='text/plain; charset="ISO-8859-1"')
    file = await files.create_file(library.context(), {"file": part, "purpose": "assistants"})
    store = await library.vector_store()
    await library.attach(store["id"], file["id"])
    await library.settled(store["id"])
    (found,) = await library.search(store["id"], "brûlée")
    assert found["content"][0]["text"] == "crème brûlée"
    assert await library.retrieval.file_text("p", store["id"], file["id"]) == "crème brûlée"


@pytest.mark.parametrize("answer", ['{"data": []}', '{"data": [{"embedding": [NaN]}]}'])
async def test_embeddings_that_cannot_be_read_fail_the_file_at_once(
    library: Library, provider: ProviderProcess, answer: str, tag: str
) -> None:
    script = json.dumps({"tag": tag, "turns": [{"raw": answer, "content_type": "application/json"}]})
    file = await library.ingest(f"script: {script}", "a.txt")
    assert file["status"] == "failed"
    assert file["last_error"]["message"].startswith("The text could not be embedded: The provider's answer")
    assert len(provider.received(tag)) == 1


def _counted(calls: Counter[str], name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*arguments: Any, **options: Any) -> Any:
        calls[name] += 1
        return method(*arguments, **options)

    return counted


async def test_a_megabyte_of_text_is_ingested_within_a_few_seconds(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    async with library_at(tmp_path, provider.url, embedding_model=None) as library:
        await library.ingest("warm up", "a.txt")
        started = time.monotonic()
        file = await library.ingest(text_of(1_000_000), "a.txt")
        assert file["status"] == "completed"
        assert time.monotonic() - started < 10  # 0.5 s on a machine with nothing else to do


async def test_a_file_that_a_worker_left_half_done_is_done_again_from_the_start(library: Library) -> None:
    store = await library.vector_store()
    file = await library.file(text_of(20_000))
    leftover = [Chunk(n, f"leftover {n}", [1.0] + [0.0] * 63) for n in range(500)]
    await library.store.put_chunks("p", store["id"], file["id"], leftover, {})
    await library.attach(store["id"], file["id"], chunking_strategy=STATIC)
    await library.settled(store["id"])
    chunks = await _chunks(library.store, "p", store["id"], file["id"])
    assert "".join(chunk.text for chunk in chunks) == text_of(20_000)


@pytest.mark.server
async def test_a_killed_workers_file_is_taken_up_and_each_chunk_is_stored_once(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    (tmp_path / "models.yaml").write_text(
        f"""
providers:
  fake: {{base_url: "{provider.url}", api_key: any}}
models:
  "*": {{provider: fake}}
  embed: {{provider: fake, kind: embedding}}
embedding_model: embed
"""
    )
    text = text_of(800_000)
    with Server(tmp_path, ASTROLABE_MODELS=str(tmp_path / "models.yaml")) as server:
        async with AsyncOpenAI(base_url=server.url, api_key="any") as client:
            uploaded = await client.files.create(file=("a.txt", text.encode()), purpose="assistants")
            created = await client.vector_stores.create(
                file_ids=[uploaded.id],
                chunking_strategy=STATIC,  # type: ignore[arg-type]
            )
            store = open_store(f"sqlite:///{tmp_path}/astrolabe.db")
            await store.open()

            async def begun() -> bool:
                return bool(await store.read_chunks("default", created.id, uploaded.id, limit=1))

            await until(begun)
            for worker in server.workers():
                os.kill(worker, signal.SIGKILL)
            member = await store.get(Key("default", "vector_store_files", f"{created.id}:{uploaded.id}"))
            assert member is not None
            assert member.value["status"] == "in_progress", "the worker was too quick to be killed"

            async def completed() -> bool:
                with_worker = await client.with_options(max_retries=5).vector_stores.retrieve(created.id)
                return with_worker.file_counts.completed == 1

            await until(completed, seconds=90)
            chunks = await _chunks(store, "default", created.id, uploaded.id)
            await store.close()
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert "".join(chunk.text for chunk in chunks) == text


async def _chunks(store: Store, project: str, vector_store: str, file: str) -> list[Chunk]:
    chunks: list[Chunk] = []
    while batch := await store.read_chunks(
        project, vector_store, file, after=chunks[-1].index if chunks else -1, limit=1000
    ):
        chunks += batch
    return chunks
