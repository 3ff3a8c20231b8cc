from collections.abc import Sequence

import pytest

from persistence.errors import DimensionMismatch
from persistence.store import Chunk, Hit, Store

VECTORS = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


def chunks(*texts: str, first: int = 0) -> list[Chunk]:
    """Chunks whose vectors lie along the axis that their texts begin with, if they do."""
    return [Chunk(number, text, VECTORS.get(text[:1])) for number, text in enumerate(texts, first)]


def places(hits: Sequence[Hit]) -> list[tuple[str, int]]:
    return [(hit.file_id, hit.index) for hit in hits]


async def found(store: Store, project: str, word: str, vector_store: str = "vs_1") -> list[tuple[str, int]]:
    """Where a word is found, in order of place."""
    return sorted(places(await store.search_text(project, vector_store, word, 100)))


async def near(store: Store, project: str, axis: str, vector_store: str = "vs_1") -> list[tuple[str, int]]:
    """What lies along an axis, in order of place."""
    hits = await store.search_vectors(project, vector_store, VECTORS[axis], 100)
    return sorted(places([hit for hit in hits if hit.score > 0.9]))


async def test_chunks_come_back_in_order_of_index_without_vectors(store: Store, project: str) -> None:
    given = chunks("x zero", "y one", "two", "z three")
    await store.put_chunks(project, "vs_1", "file-1", given[2:], {})
    await store.put_chunks(project, "vs_1", "file-1", given[:2], {})
    read = await store.read_chunks(project, "vs_1", "file-1")
    assert list(read) == [Chunk(chunk.index, chunk.text) for chunk in given]


async def test_a_thousand_chunks_are_read_in_parts(store: Store, project: str) -> None:
    given = [Chunk(number, f"text number {number}") for number in range(1000)]
    for first in range(0, 1000, 250):
        await store.put_chunks(project, "vs_1", "file-1", given[first : first + 250], {})
    read: list[Chunk] = []
    while part := await store.read_chunks(
        project, "vs_1", "file-1", read[-1].index if read else -1, limit=300
    ):
        assert len(part) <= 300
        read += part
    assert read == given


async def test_the_order_of_vectors_is_the_order_of_chunks(store: Store, project: str) -> None:
    given = [Chunk(n, f"number {n}", (float(n % 32), float(n // 32), 7.0)) for n in range(1000)]
    for first in range(0, 1000, 250):
        await store.put_chunks(project, "vs_1", "file-1", given[first : first + 250], {})
    for chunk in given[::97]:
        assert chunk.vector is not None
        [best] = await store.search_vectors(project, "vs_1", chunk.vector, 1)
        assert (best.index, best.text) == (chunk.index, chunk.text)
        assert best.score == pytest.approx(1, abs=1e-3)


async def test_a_chunk_of_the_same_index_is_replaced(store: Store, project: str) -> None:
    await store.put_chunks(project, "vs_1", "file-1", chunks("x apple", "x banana", "x cherry"), {})
    assert await near(store, project, "x") == [("file-1", 0), ("file-1", 1), ("file-1", 2)]
    await store.put_chunks(project, "vs_1", "file-1", chunks("y damson", first=1), {})
    assert [chunk.text for chunk in await store.read_chunks(project, "vs_1", "file-1")] == [
        "x apple",
        "y damson",
        "x cherry",
    ]
    assert await found(store, project, "banana") == []
    assert await found(store, project, "damson") == [("file-1", 1)]
    assert await near(store, project, "x") == [("file-1", 0), ("file-1", 2)]
    assert await near(store, project, "y") == [("file-1", 1)]


async def test_putting_the_same_chunks_again_keeps_each_once(store: Store, project: str) -> None:
    for _ in range(3):
        await store.put_chunks(project, "vs_1", "file-1", chunks("x apple", "y banana"), {})
    assert len(await store.read_chunks(project, "vs_1", "file-1")) == 2
    assert await found(store, project, "apple") == [("file-1", 0)]
    assert await near(store, project, "x") == [("file-1", 0)]


async def test_new_chunks_are_found_at_once_and_deleted_ones_never(store: Store, project: str) -> None:
    for number in range(5):
        await store.put_chunks(project, "vs_1", f"file-{number}", chunks("x apple", "y apple"), {})
        assert len(await found(store, project, "apple")) == 2 * (number + 1)
        assert len(await near(store, project, "x")) == number + 1
    for number in range(5):
        await store.delete_chunks(project, "vs_1", f"file-{number}")
        left = [(f"file-{other}", index) for other in range(number + 1, 5) for index in (0, 1)]
        assert await found(store, project, "apple") == left
        assert await near(store, project, "x") == left[::2]


async def test_deleting_a_file_leaves_the_others(store: Store, project: str) -> None:
    await store.put_chunks(project, "vs_1", "file-1", chunks("x apple"), {"a": 1})
    await store.put_chunks(project, "vs_1", "file-2", chunks("x apple"), {"a": 1})
    await store.delete_chunks(project, "vs_1", "file-1")
    assert list(await store.read_chunks(project, "vs_1", "file-1")) == []
    assert await found(store, project, "apple") == [("file-2", 0)]
    assert await near(store, project, "x") == [("file-2", 0)]
    await store.delete_chunks(project, "vs_1", "file-1")
    await store.delete_chunks(project, "vs_1", "file-none")
    await store.delete_chunks(project, "vs_none", "file-1")


async def test_deleting_a_vector_store_leaves_the_others(store: Store, project: str) -> None:
    await store.put_chunks(project, "vs_1", "file-1", chunks("x apple"), {})
    await store.put_chunks(project, "vs_2", "file-1", chunks("x apple"), {})
    await store.delete_chunks(project, "vs_1")
    assert await found(store, project, "apple") == []
    assert await near(store, project, "x") == []
    assert list(await store.read_chunks(project, "vs_1", "file-1")) == []
    assert await found(store, project, "apple", "vs_2") == [("file-1", 0)]
    await store.delete_chunks(project, "vs_1")
    await store.put_chunks(project, "vs_1", "file-2", chunks("y apple"), {})
    assert await found(store, project, "apple") == [("file-2", 0)]


async def test_a_vector_store_without_chunks_has_nothing(store: Store, project: str) -> None:
    assert list(await store.search_text(project, "vs_1", "apple", 10)) == []
    assert list(await store.search_vectors(project, "vs_1", VECTORS["x"], 10)) == []
    assert list(await store.read_chunks(project, "vs_1", "file-1")) == []
    await store.set_attributes(project, "vs_1", "file-1", {"a": 1})


async def test_nothing_of_another_projects_vector_store_is_seen_or_touched(
    store: Store, project: str
) -> None:
    stranger = f"{project}x"
    await store.put_chunks(project, "vs_1", "file-1", chunks("x apple"), {})
    assert await found(store, stranger, "apple") == []
    assert await near(store, stranger, "x") == []
    assert list(await store.read_chunks(stranger, "vs_1", "file-1")) == []
    await store.set_attributes(stranger, "vs_1", "file-1", {"a": 1})
    await store.delete_chunks(stranger, "vs_1", "file-1")
    await store.delete_chunks(stranger, "vs_1")
    assert await found(store, project, "apple") == [("file-1", 0)]
    assert await near(store, project, "x") == [("file-1", 0)]


async def test_a_vector_of_another_length_is_refused_and_nothing_is_kept(store: Store, project: str) -> None:
    await store.put_chunks(project, "vs_1", "file-1", chunks("x apple"), {})
    with pytest.raises(DimensionMismatch):
        await store.put_chunks(
            project, "vs_1", "file-2", [*chunks("y plum"), Chunk(1, "fig", (1.0, 0.0))], {}
        )
    with pytest.raises(DimensionMismatch):
        await store.search_vectors(project, "vs_1", (1.0, 0.0), 10)
    assert list(await store.read_chunks(project, "vs_1", "file-2")) == []
    assert await found(store, project, "plum fig") == []
    await store.put_chunks(project, "vs_2", "file-2", [Chunk(0, "fig", (1.0, 0.0))], {})


async def test_chunks_without_vectors_are_found_by_their_words_alone(store: Store, project: str) -> None:
    await store.put_chunks(project, "vs_1", "file-1", [Chunk(0, "apple"), *chunks("x apple", first=1)], {})
    assert await found(store, project, "apple") == [("file-1", 0), ("file-1", 1)]
    hits = await store.search_vectors(project, "vs_1", VECTORS["x"], 10)
    assert places(hits) == [("file-1", 1)]


@pytest.mark.parametrize("id", ["../../x", "a'b", "nul\u0000", "é世", "x" * 500])
async def test_ids_of_vector_stores_and_files_are_data(store: Store, project: str, id: str) -> None:
    await store.put_chunks(project, id, id, chunks("x apple"), {id[:60]: id})
    assert await found(store, project, "apple", id) == [(id, 0)]
    await store.delete_chunks(project, id, id)
    assert await found(store, project, "apple", id) == []
