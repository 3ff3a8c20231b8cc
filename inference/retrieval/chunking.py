"""OpenAI's chunking_strategy, as requests give it."""

from collections.abc import Mapping
from typing import Any

from inference.parsing.chunking import AUTO, Chunking
from inference.retrieval.errors import RequestRefused

MIN_CHUNK = 100
MAX_CHUNK = 4096


def parse_chunking(value: Mapping[str, Any] | None, param: str = "chunking_strategy") -> Chunking:
    """The chunking that a request asks for; RequestRefused naming the field that breaks a limit."""
    if value is None or value["type"] == "auto":
        return AUTO
    static = value["static"]
    size, overlap = static["max_chunk_size_tokens"], static["chunk_overlap_tokens"]
    if not MIN_CHUNK <= size <= MAX_CHUNK:
        raise RequestRefused(
            f"Invalid '{param}.static.max_chunk_size_tokens': expected a value between {MIN_CHUNK} and "
            f"{MAX_CHUNK}, but got {size} instead.",
            param=f"{param}.static.max_chunk_size_tokens",
            code="invalid_value",
        )
    if not 0 <= overlap <= size // 2:
        raise RequestRefused(
            f"Invalid '{param}.static.chunk_overlap_tokens': expected a value between 0 and half of "
            f"max_chunk_size_tokens, {size // 2}, but got {overlap} instead.",
            param=f"{param}.static.chunk_overlap_tokens",
            code="invalid_value",
        )
    return Chunking(size, overlap)
