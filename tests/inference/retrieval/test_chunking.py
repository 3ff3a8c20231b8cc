import itertools

import pytest

from astrolabe_server.inference import tokens
from astrolabe_server.inference.retrieval.chunking import AUTO, Chunker, Chunking, parse_chunking
from astrolabe_server.inference.retrieval.errors import RequestRefused

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
    spans = chunker.cut(text, chunking)
    chunks = [encoded[start:end].decode() for start, end in spans]  # raises within a character
    assert all(chunk in text for chunk in chunks)
    assert (spans[0][0], spans[-1][1]) == (0, len(encoded))
    for (start, end), (following, last) in itertools.pairwise(spans):
        assert start < following <= end < last


@pytest.mark.parametrize("chunking", [AUTO, Chunking(100, 50)])
def test_chunks_have_as_many_tokens_as_asked_for_and_share_the_overlap(
    chunker: Chunker, chunking: Chunking
) -> None:
    text = TEXTS["words"]
    spans = chunker.cut(text, chunking)
    sizes = [tokens.count(text[start:end]) for start, end in spans]
    assert set(sizes[:-1]) == {chunking.size}
    assert 0 < sizes[-1] <= chunking.size
    for (_, end), (following, _) in itertools.pairwise(spans):
        assert tokens.count(text[following:end]) == chunking.overlap


def test_no_text_has_no_chunks(chunker: Chunker) -> None:
    assert chunker.cut("", AUTO) == []


def test_what_looks_like_a_special_token_is_text(chunker: Chunker) -> None:
    assert len(chunker.cut("<|endoftext|>" * 1000, Chunking(100, 50))) > 100


def static(size: int, overlap: int) -> dict[str, object]:
    return {"type": "static", "static": {"max_chunk_size_tokens": size, "chunk_overlap_tokens": overlap}}


def test_chunking_is_parsed_from_requests() -> None:
    assert parse_chunking(None) == parse_chunking({"type": "auto"}) == Chunking(800, 400)
    assert parse_chunking(static(1200, 600)) == Chunking(1200, 600)
    assert Chunking(1200, 600).rendered() == static(1200, 600)


@pytest.mark.parametrize(
    ("size", "overlap", "field"),
    [
        (99, 0, "max_chunk_size_tokens"),
        (4097, 0, "max_chunk_size_tokens"),
        (800, 401, "chunk_overlap_tokens"),
        (800, -1, "chunk_overlap_tokens"),
    ],
)
def test_limits_of_chunking_name_the_field(size: int, overlap: int, field: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        parse_chunking(static(size, overlap))
    assert caught.value.param == f"chunking_strategy.static.{field}"
