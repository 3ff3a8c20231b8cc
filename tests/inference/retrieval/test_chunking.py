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
