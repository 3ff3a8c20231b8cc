"""OpenAI's chunking_strategy, as requests give it."""

from collections.abc import Mapping
from typing import Any

from inference.parsing.chunking import AUTO, Chunking
from inference.retrieval.errors import RequestRefused


def parse_chunking(value: Mapping[str, Any] | None, param: str = "chunking_strategy") -> Chunking:
    """Return the chunking of a request; raise RequestRefused if chunks would overlap by more than half."""
    if value is None or value["type"] == "auto":
        return AUTO
    static = value["static"]
    size, overlap = static["max_chunk_size_tokens"], static["chunk_overlap_tokens"]
    if not 0 <= overlap <= size // 2:
        raise RequestRefused(
            f"Invalid '{param}.static.chunk_overlap_tokens': expected a value between 0 and half of "
            f"max_chunk_size_tokens, {size // 2}, but got {overlap} instead.",
            param=f"{param}.static.chunk_overlap_tokens",
            code="invalid_value",
        )
    return Chunking(size, overlap)
