"""Cuts a text into overlapping chunks of so many tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tiktoken
from numpy.typing import NDArray

from astrolabe_server.inference.retrieval.errors import RequestRefused

MIN_CHUNK = 100
MAX_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Chunking:
    """How a file is cut: tokens of a chunk, and how many of them it shares with the one before."""

    size: int = 800
    overlap: int = 400

    def rendered(self) -> dict[str, Any]:
        """OpenAI's chunking_strategy of a vector store's file."""
        static = {"max_chunk_size_tokens": self.size, "chunk_overlap_tokens": self.overlap}
        return {"type": "static", "static": static}


AUTO = Chunking()


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


SEGMENT = 1 << 16
"""Characters that are tokenised at once: a megabyte without a space costs the encoder its square."""


class Chunker:
    """Cuts texts by the tokens of one encoding, whose table it prepares once."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding
        ordinary = range(len(encoding.token_byte_values()))
        self._lengths = np.array(
            [len(encoding.decode_single_token_bytes(token)) for token in ordinary], dtype=np.int64
        )

    def cut(self, text: str, chunking: Chunking) -> list[tuple[int, int]]:
        """The chunks of a text as (start, end) in its UTF-8 bytes, none of them within a character.

        The last chunk is the one that reaches the end, so no chunk is part of the one before it.
        """
        ends = self._token_ends(text)
        count = len(ends)
        encoded = text.encode()
        spans = []
        for first in range(0, count, chunking.size - chunking.overlap):
            last = min(first + chunking.size, count)
            start = _character(encoded, int(ends[first - 1]) if first else 0)
            spans.append((start, _character(encoded, int(ends[last - 1]))))
            if last == count:
                break
        return spans

    def _token_ends(self, text: str) -> NDArray[np.int64]:
        """Where each token ends, in bytes."""
        tokens = [
            self._encoding.encode_to_numpy(text[start : start + SEGMENT], disallowed_special=())
            for start in range(0, len(text), SEGMENT)
        ]
        return self._lengths[np.concatenate(tokens)].cumsum() if tokens else np.empty(0, dtype=np.int64)


def _character(encoded: bytes, offset: int) -> int:
    """The start of the character that `offset` lies in."""
    while offset < len(encoded) and encoded[offset] & 0xC0 == 0x80:
        offset -= 1
    return offset
