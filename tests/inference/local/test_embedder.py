import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from inference.local import weights
from inference.local.embedder import Embedder, TextTooLong, WindowQueue
from inference.local.models import LocalModels
from inference.local.server import has_avx512

needs_model = pytest.mark.skipif(
    bool(LocalModels.missing()), reason=f"not installed: {', '.join(LocalModels.missing())}"
)


def order(queue: WindowQueue, count: int) -> list[int]:
    return [queue.get().tokens[0] for _ in range(count)]


def windows(*numbers: int) -> Sequence[list[int]]:
    return [[number] for number in numbers]


def test_a_query_goes_ahead_of_every_batch() -> None:
    queue = WindowQueue()
    queue.put(windows(1, 2), is_batch=True)
    queue.put(windows(3), is_batch=True)
    queue.put(windows(4), is_batch=False)
    assert order(queue, 4)[0] == 4


def test_batches_take_turns() -> None:
    queue = WindowQueue()
    queue.put(windows(10, 11, 12, 13), is_batch=True)
    assert order(queue, 2) == [10, 11]
    queue.put(windows(20), is_batch=True)
    assert order(queue, 3) == [12, 20, 13]


def test_a_long_batch_is_not_held_up_by_later_ones() -> None:
    queue = WindowQueue()
    queue.put(windows(10, 11, 12), is_batch=True)
    served = []
    for number in range(20, 25):
        queue.put(windows(number), is_batch=True)
        served += order(queue, 1)
    assert served == [10, 20, 11, 21, 22]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    from inference.local import minilm

    folder = weights.embedding_weights()
    assert folder is not None
    model = tmp_path_factory.mktemp("model") / "model"
    minilm.convert(folder, model)
    return Embedder(model, folder / "tokenizer.json")


@needs_model
def test_a_vector_does_not_depend_on_the_texts_beside_it(embedder: Embedder) -> None:
    texts = ["a text", "another text of more words", "word " * 600]
    together = embedder.embed(texts, is_batch=True).vectors
    for text, vector in zip(texts, together, strict=True):
        assert np.array_equal(embedder.embed([text], is_batch=False).vectors[0], vector)


@needs_model
def test_an_empty_text_has_a_vector(embedder: Embedder) -> None:
    found = embedder.embed([""], is_batch=True)
    assert np.linalg.norm(found.vectors[0]) == pytest.approx(1, abs=1e-5)
    assert found.tokens == 2


@needs_model
def test_a_text_of_more_than_8192_tokens_is_refused(embedder: Embedder) -> None:
    with pytest.raises(TextTooLong, match="8193 tokens"):
        embedder.embed(["word " * 8193], is_batch=True)


@needs_model
async def test_queries_are_answered_while_a_batch_is_embedded(embedder: Embedder) -> None:
    batch = asyncio.create_task(asyncio.to_thread(embedder.embed, ["word " * 250] * 60, is_batch=True))
    await asyncio.sleep(0)
    for _ in range(3):
        await asyncio.to_thread(embedder.embed, ["a short question"], is_batch=False)
    assert not batch.done()
    await batch


def test_weights_other_than_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    from inference.local import minilm

    (tmp_path / "model.safetensors").write_bytes(b"other")
    with pytest.raises(minilm.WeightsMismatch):
        minilm.convert(tmp_path, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("cpuinfo", "found"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512dq avx512cd avx512bw avx512vl\n", True),
        ("flags\t\t: fpu avx2 avx512f avx512cd\n", False),
        ("Features\t: fp asimd\n", False),
    ],
)
def test_avx512_is_used_where_the_processor_has_all_of_it(
    tmp_path: Path, cpuinfo: str, *, found: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert has_avx512(tmp_path / "cpuinfo") is found
    assert not has_avx512(tmp_path / "missing")


@needs_model
def test_vectors_stay_comparable_with_those_of_earlier_stores(embedder: Embedder) -> None:
    (vector,) = embedder.embed(["The harbour master wrote of storms."], is_batch=True).vectors
    assert vector[:6].tolist() == pytest.approx(
        [0.0054363, 0.0252677, 0.1012353, 0.0835187, -0.0095260, 0.0175428], abs=1e-5
    )
