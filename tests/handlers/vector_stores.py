"""What the tests of vector stores share."""

from typing import Any

from handlers import vector_store_file_batches, vector_store_files, vector_stores
from persistence.types import JSON
from tests.fixtures.pages import PAGE
from tests.inference.retrieval.library import Library, until

WORDS = "The lighthouse keeper wrote about the harbour, its ships and the winter storms. "


async def create(library: Library, **body: Any) -> JSON:
    return await vector_stores.create_vector_store(library.context(), body)


async def batch_of(library: Library, store: JSON, **body: Any) -> JSON:
    return await vector_store_file_batches.create_vector_store_file_batch(
        library.context(), store["id"], body
    )


async def batch_settled(library: Library, batch: JSON) -> JSON:
    async def settled() -> JSON | None:
        fresh = await vector_store_file_batches.get_vector_store_file_batch(
            library.context(), batch["vector_store_id"], batch["id"]
        )
        return None if fresh["file_counts"]["in_progress"] else fresh

    return await until(settled)


async def listed(library: Library, store: JSON, **query: Any) -> list[str]:
    page = await vector_store_files.list_vector_store_files(
        library.context(), store["id"], **{**PAGE, **query}
    )
    return [file["id"] for file in page["data"]]


def counts(**numbers: int) -> dict[str, int]:
    statuses = dict.fromkeys(("in_progress", "completed", "failed", "cancelled"), 0)
    return {**statuses, **numbers, "total": sum(numbers.values())}
