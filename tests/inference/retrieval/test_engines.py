"""The life of files and vector stores on every engine."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from handlers import files, vector_store_file_batches, vector_store_files, vector_stores
from inference.gateway import Gateway, Routes
from tests.contract.engines import ENGINES
from tests.inference.retrieval.library import Library, library_over, until
from tests.provider import ProviderProcess


@pytest.fixture(params=ENGINES)
async def library(
    request: pytest.FixtureRequest, tmp_path: Path, provider: ProviderProcess
) -> AsyncIterator[Library]:
    url = request.getfixturevalue(f"{request.param}_url")
    routes = replace(Routes.from_environment("sk-test", provider.url), embedding_model="embed")
    async with library_over(tmp_path, Gateway(routes), url=url) as library:
        yield library


async def test_files_are_ingested_counted_found_and_forgotten(library: Library) -> None:
    project = f"proj_{secrets.token_hex(8)}"
    context = library.context(project)
    texts = [f"All about storms, part {n}." for n in range(12)] + ["All about summer ships."]
    ids = [(await library.file(text, f"{n}.txt", project))["id"] for n, text in enumerate(texts)]
    store = await vector_stores.create_vector_store(context, {"file_ids": ids[:2]})
    batch = await vector_store_file_batches.create_vector_store_file_batch(
        context,
        store["id"],
        {"files": [{"file_id": id, "attributes": {"number": n}} for n, id in enumerate(ids[2:], start=2)]},
    )

    async def settled() -> bool:
        fresh = await vector_store_file_batches.get_vector_store_file_batch(context, store["id"], batch["id"])
        value = await vector_stores.get_vector_store(context, store["id"])
        return fresh["status"] == "completed" and value["status"] == "completed"

    await until(settled, 60)
    value = await vector_stores.get_vector_store(context, store["id"])
    assert value["file_counts"] == {
        "in_progress": 0,
        "completed": 13,
        "failed": 0,
        "cancelled": 0,
        "total": 13,
    }
    page = await vector_stores.search_vector_store(
        context,
        store["id"],
        {
            "query": "summer ships",
            "max_num_results": 3,
            "filters": {"type": "gte", "key": "number", "value": 6},
        },
    )
    assert page["data"][0]["content"][0]["text"] == "All about summer ships."
    assert len(page["data"]) == 3
    await asyncio.gather(*(files.delete_file(context, id) for id in ids[:4]))
    await vector_store_files.delete_vector_store_file(context, store["id"], ids[4])
    value = await vector_stores.get_vector_store(context, store["id"])
    assert value["file_counts"]["total"] == value["file_counts"]["completed"] == 8
    await vector_stores.delete_vector_store(context, store["id"])
    for id in ids[4:]:
        await files.delete_file(context, id)

    async def forgotten() -> bool:
        lists = [
            await library.store.page(project, "files"),
            await library.store.page(project, "vector_stores"),
            await library.store.page(project, "vector_store_files", store["id"]),
            await library.store.page(project, "vector_store_file_batches", store["id"]),
            *[await library.store.page(project, "file_vector_stores", id) for id in ids],
        ]
        chunks = [await library.store.read_chunks(project, store["id"], id) for id in ids]
        return not any(page.documents for page in lists) and not any(chunks)

    await until(forgotten, 60)
