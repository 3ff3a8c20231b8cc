"""What only this engine can get wrong: shards, rows of chunks that are gone, BM25 in parts."""

import itertools
import math
import random

import numpy as np
import pytest

from persistence.cassandra import CassandraStore, vector_store_meta, vectors
from persistence.cassandra.postings import FIRST, in_order
from persistence.cassandra.retrieval import DROP
from persistence.cassandra.vector_store_meta import VectorStoreMeta, VectorStoreMetaTable
from persistence.cassandra.vectors import StoredVector, stored_vectors, unpack
from persistence.store import Chunk, FileChunks

SEARCH_ROWS = "SELECT source FROM vectors_3 WHERE project=? AND store='vs_1' AND shard=?"


def circle(count: int) -> list[Chunk]:
    """Chunks whose vectors turn slowly from one axis to another."""
    turn = math.pi / 2 / count
    return [Chunk(n, f"apple {n}", (math.cos(n * turn), math.sin(n * turn), 0.0)) for n in range(count)]


@pytest.mark.cassandra
@pytest.mark.parametrize("spread", [True, False], ids=["near ones in every shard", "near ones in one shard"])
async def test_many_shards_are_searched_as_if_they_were_one(
    store: CassandraStore, project: str, monkeypatch: pytest.MonkeyPatch, spread: bool
) -> None:
    monkeypatch.setattr(vector_store_meta, "SHARD_BYTES", 60 * vectors.LEAST_ROW)
    chunks = circle(360)
    order = random.Random(3).sample(chunks, len(chunks)) if spread else chunks
    for start in range(0, len(order), 60):
        await store.put_chunks(project, "vs_1", f"file-{start}", order[start : start + 60], {})
    for shard in range(6):
        assert len(await store.connection.run(SEARCH_ROWS, (project, shard))) == 60
    hits = await store.search_vectors(project, "vs_1", (1.0, 0.0, 0.0), 50)
    assert [hit.index for hit in hits] == list(range(50))


@pytest.mark.cassandra
async def test_the_next_best_take_the_place_of_what_is_gone(store: CassandraStore, project: str) -> None:
    """As after a crash between the deletion of a file's chunks and that of its vectors."""
    chunks = circle(200)
    await store.put_chunks(project, "vs_1", "file-near", chunks[:100], {})
    await store.put_chunks(project, "vs_1", "file-far", chunks[100:], {})
    _, near = await VectorStoreMetaTable(store.connection).find(project, "vs_1", "file-near")
    assert near is not None
    await store.connection.run(DROP, (project, "vs_1", near.name))
    hits = await store.search_vectors(project, "vs_1", (1.0, 0.0, 0.0), 40)
    assert [hit.index for hit in hits] == list(range(100, 140))


@pytest.mark.cassandra
async def test_a_replaced_vector_is_read_as_the_last_one(store: CassandraStore, project: str) -> None:
    async def kept() -> list[float]:
        records = [record async for _, record in store.export() if isinstance(record, FileChunks)]
        [chunk] = [chunk for record in records if record.project == project for chunk in record.chunks]
        return list(chunk.vector or ())

    for vector in ([0.5, -7.25, 3e-7], [1.0, 0.0, 0.0], [-2.0, 0.0, 1.0], [0.0, 0.6, 0.8]):
        await store.put_chunks(project, "vs_1", "file-1", [Chunk(0, "apple", vector)], {})
        assert await kept() == np.array(vector, dtype=np.float32).tolist()


@pytest.mark.parametrize("dimension", [3, 384, 3072])
def test_a_shard_stays_below_100_mb_and_100_000_rows(dimension: int) -> None:
    vector = StoredVector(0, bytes(4 * dimension))
    meta, full = VectorStoreMeta("p", "vs"), 0
    while meta.shard == 0:
        meta = meta.grow(size=1000 * vector.size("x" * 40), dimension=dimension, rows=1, chunks=1000, words=1)
        full += 1000
    assert full - 1000 <= 100_000
    assert (full - 1000) * (4 * dimension + 40) <= 100_000_000


def test_vectors_are_stored_with_length_one_and_zero_vectors_are_not() -> None:
    kept = stored_vectors(
        [(0, [3.0, 4.0]), (1, [0.6, 0.8]), (2, [0.0, 0.0]), (3, [math.nan, 1.0]), (4, [1e30, 0.0])]
    )
    assert [vector.number for vector in kept] == [0, 1, 4]
    for vector, expected in zip(kept, ([0.6, 0.8], [0.6, 0.8], [1.0, 0.0]), strict=True):
        assert unpack(vector.vector) == pytest.approx(expected)
    assert unpack(kept[0].given) == [3.0, 4.0]
    assert not kept[1].given


def test_scores_are_in_order_however_many_there_are() -> None:
    draw = np.random.default_rng(1)
    keys = np.arange(3 * FIRST, dtype=np.int64)
    scores = draw.integers(1, 40, len(keys)).astype(np.float64)
    ordered = list(in_order(["file"], keys, scores))
    assert ordered == sorted(
        (("file", int(key), float(score)) for key, score in zip(keys, scores, strict=True)),
        key=lambda found: (-found[2], found[1]),
    )
    assert list(itertools.islice(in_order(["file"], keys, scores), 7)) == ordered[:7]
