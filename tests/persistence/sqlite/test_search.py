import random
from pathlib import Path

import pytest

from persistence.sqlite import SQLiteStore, words
from persistence.store import Chunk

KB = 1024


def vector(n: int) -> list[float]:
    draw = random.Random(n)
    return [draw.gauss(0, 1) for _ in range(8)]


async def fill(store: SQLiteStore, vector_store: str, count: int) -> None:
    given = [Chunk(n, f"text {n}", vector(n)) for n in range(count)]
    await store.put_chunks("proj", vector_store, "file-1", given, {})


async def nearest(store: SQLiteStore, vector_store: str, n: int) -> int:
    [hit] = await store.search_vectors("proj", vector_store, vector(n), 1)
    return hit.index


async def test_vectors_in_memory_stay_within_their_bound(path: Path) -> None:
    store = SQLiteStore(path, vector_memory=800 * KB)
    await store.migrate()
    await store.open()
    for number in range(8):
        await fill(store, f"vs_{number}", 500)
        assert await nearest(store, f"vs_{number}", 123) == 123
        held = [cached.bytes for cached in store._indexes.vector_cache()._by_file.values()]
        assert sum(held) <= 800 * KB
    assert len(held) > 1
    await store.close()


async def test_a_vector_store_beyond_the_bound_is_searched_all_the_same(path: Path) -> None:
    store = SQLiteStore(path, vector_memory=10 * KB)
    await store.migrate()
    await store.open()
    await fill(store, "vs_1", 9000)
    for n in (0, 4095, 4096, 5000, 8999):
        assert await nearest(store, "vs_1", n) == n
    hits = await store.search_vectors("proj", "vs_1", vector(-1), 50)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len({hit.index for hit in hits}) == 50
    assert list(store._indexes.vector_cache()._by_file) == []
    await store.close()


async def test_rows_of_removed_chunks_do_not_pile_up_in_memory(store: SQLiteStore) -> None:
    await fill(store, "vs_1", 100)
    for _ in range(30):
        await fill(store, "vs_1", 100)
        assert await nearest(store, "vs_1", 42) == 42
    for cached in store._indexes.vector_cache()._by_file.values():
        assert cached._count <= 300


async def test_vectors_may_change_their_length_once_all_are_gone(store: SQLiteStore) -> None:
    await store.put_chunks("proj", "vs_1", "file-1", [Chunk(0, "two", (1.0, 0.0))], {})
    assert len(await store.search_vectors("proj", "vs_1", (1.0, 0.0), 10)) == 1
    await store.delete_chunks("proj", "vs_1", "file-1")
    await store.put_chunks("proj", "vs_1", "file-1", [Chunk(0, "three", (1.0, 0.0, 0.0))], {})
    [hit] = await store.search_vectors("proj", "vs_1", (1.0, 0.0, 0.0), 10)
    assert hit.text == "three"


async def test_vectors_with_nan_are_never_found(store: SQLiteStore) -> None:
    nan, infinite = float("nan"), float("inf")
    given = [Chunk(0, "nan", (nan, 1.0)), Chunk(1, "inf", (infinite, 0.0)), Chunk(2, "east", (1.0, 0.0))]
    await store.put_chunks("proj", "vs_1", "file-1", given, {})
    hits = await store.search_vectors("proj", "vs_1", (1.0, 0.0), 10)
    assert (hits[0].text, hits[0].score) == ("east", 1.0)
    assert {hit.score for hit in hits[1:]} == {0.0}
    assert {hit.score for hit in await store.search_vectors("proj", "vs_1", (nan, 1.0), 10)} == {0.0}


async def test_common_words_are_left_out_of_a_long_search_unless_too_little_is_found(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "POSTINGS", 50)
    common = [Chunk(n, f"the telescope of the year {1000 + n}") for n in range(200)]
    await store.put_chunks("proj", "vs_1", "file-1", common, {})
    rare = [Chunk(n, "the moons of Jupiter") for n in range(20)]
    await store.put_chunks("proj", "vs_1", "file-2", rare, {})
    hits = await store.search_text("proj", "vs_1", "the moons of jupiter", 20)
    assert {hit.file_id for hit in hits} == {"file-2"}
    hits = await store.search_text("proj", "vs_1", "the moons of jupiter", 40)
    assert [hit.file_id for hit in hits].count("file-2") == 20
    assert len(hits) == 40
    assert len(await store.search_text("proj", "vs_1", "the", 10)) == 10


async def test_a_word_weighs_by_its_own_vector_store_alone(store: SQLiteStore) -> None:
    """What other vector stores hold changes neither order nor score."""
    given = [Chunk(0, "apple pie"), Chunk(1, "banana pie"), Chunk(2, "cherry cake")]
    await store.put_chunks("proj", "vs_1", "file-1", given, {})
    before = await store.search_text("proj", "vs_1", "apple pie", 10)
    await store.put_chunks("proj", "vs_2", "file-1", [Chunk(n, "apple apple") for n in range(500)], {})
    assert await store.search_text("proj", "vs_1", "apple pie", 10) == before


@pytest.mark.parametrize(
    ("query", "text"), [("running", "he runs"), ("cities", "a city"), ("Übung", "ubung")]
)
async def test_forms_of_a_word_find_each_other(store: SQLiteStore, query: str, text: str) -> None:
    await store.put_chunks("proj", "vs_1", "file-1", [Chunk(0, text)], {})
    assert len(await store.search_text("proj", "vs_1", query, 10)) == 1


async def test_weighing_in_two_steps_gives_the_scores_of_one(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(11)
    given = [
        Chunk(
            n,
            " ".join(draw.choice(["alpha", "beta", "gamma", "delta", "running", f"w{n}"]) for _ in range(30)),
        )
        for n in range(60)
    ]
    given += [Chunk(60 + n, f"zebra {draw.choice(['beta', 'gamma'])} 東京 の") for n in range(12)]
    given += [Chunk(80 + n, "nothing of that kind") for n in range(200)]
    await store.put_chunks("proj", "vs_1", "file-1", given, {})
    for query in ("zebra beta gamma", "zebra 東京 beta", "alpha runs zebra"):
        whole = {hit.index: hit.score for hit in await store.search_text("proj", "vs_1", query, 100)}
        monkeypatch.setattr(words, "POSTINGS", 15)
        parts = {hit.index: hit.score for hit in await store.search_text("proj", "vs_1", query, 12)}
        monkeypatch.setattr(words, "POSTINGS", 10_000)
        assert len(parts) == 12
        order = sorted(parts, key=lambda index: (-whole[index], index))
        assert sorted(parts, key=lambda index: (-parts[index], index)) == order
