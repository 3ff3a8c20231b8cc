import pytest

from inference.parsing.chunking import Chunking
from inference.retrieval.chunking import parse_chunking
from inference.retrieval.errors import RequestRefused


def static(size: int, overlap: int) -> dict[str, object]:
    return {"type": "static", "static": {"max_chunk_size_tokens": size, "chunk_overlap_tokens": overlap}}


def test_chunking_is_parsed_from_requests() -> None:
    assert parse_chunking(None) == parse_chunking({"type": "auto"}) == Chunking(800, 400)
    assert parse_chunking(static(1200, 600)) == Chunking(1200, 600)
    assert Chunking(1200, 600).rendered() == static(1200, 600)


@pytest.mark.parametrize("overlap", [401, -1])
def test_chunks_overlap_by_half_at_most(overlap: int) -> None:
    with pytest.raises(RequestRefused) as caught:
        parse_chunking(static(800, overlap))
    assert caught.value.param == "chunking_strategy.static.chunk_overlap_tokens"
