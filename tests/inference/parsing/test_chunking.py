import itertools

import pytest

from inference import tokens
from inference.parsing.chunking import AUTO, Chunker, Chunking

TEXTS = {
    "words": " ".join(f"word{n}" for n in range(5000)),
    "unicode": "größe 日本語のテキスト 🦄👩‍👩‍👧 " * 700,
    "no spaces": "x" * 100_000,
    "short": "just this",
}


@pytest.fixture(scope="module")
def chunker() -> Chunker:
    return Chunker(tokens.encoding())


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("chunking", [AUTO, Chunking(100, 0), Chunking(101, 33), Chunking(4096, 2048)])
def test_chunks_are_parts_of_the_text_and_cover_it(chunker: Chunker, name: str, chunking: Chunking) -> None:
    text = TEXTS[name]
    encoded = text.encode()
    spans = chunker.split(text, chunking)
    chunks = [encoded[start:end].decode() for start, end in spans]  # raises within a character
    assert all(chunk in text for chunk in chunks)
    assert (spans[0][0], spans[-1][1]) == (0, len(encoded))
    for (start, end), (following, last) in itertools.pairwise(spans):
        assert start < following <= end < last


@pytest.mark.parametrize("chunking", [AUTO, Chunking(100, 50)])
def test_chunks_have_the_requested_size_and_overlap(chunker: Chunker, chunking: Chunking) -> None:
    text = TEXTS["words"]
    spans = chunker.split(text, chunking)
    sizes = [tokens.count(text[start:end]) for start, end in spans]
    assert set(sizes[:-1]) == {chunking.size}
    assert 0 < sizes[-1] <= chunking.size
    for (_, end), (following, _) in itertools.pairwise(spans):
        assert tokens.count(text[following:end]) == chunking.overlap


def test_an_empty_text_has_no_chunks(chunker: Chunker) -> None:
    assert chunker.split("", AUTO) == []


def test_special_tokens_in_a_text_are_ordinary_text(chunker: Chunker) -> None:
    assert len(chunker.split("<|endoftext|>" * 1000, Chunking(100, 50))) > 100
