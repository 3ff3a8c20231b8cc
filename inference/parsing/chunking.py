"""Cuts a text into overlapping chunks of so many tokens."""

from array import array
from dataclasses import dataclass
from typing import Any

import tiktoken


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


SEGMENT = 1 << 16
"""Characters that are tokenised at once: a megabyte without a space costs the encoder its square."""


class Chunker:
    """Cuts texts by the tokens of one encoding, whose table it prepares once."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding
        ordinary = range(len(encoding.token_byte_values()))
        self._lengths = [len(encoding.decode_single_token_bytes(token)) for token in ordinary]

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
            start = _character(encoded, ends[first - 1] if first else 0)
            spans.append((start, _character(encoded, ends[last - 1])))
            if last == count:
                break
        return spans

    def _token_ends(self, text: str) -> "array[int]":
        """Where each token ends, in bytes."""
        ends = array("q")
        end = 0
        for start in range(0, len(text), SEGMENT):
            for token in self._encoding.encode_ordinary(text[start : start + SEGMENT]):
                end += self._lengths[token]
                ends.append(end)
        return ends


def _character(encoded: bytes, offset: int) -> int:
    """The start of the character that `offset` lies in."""
    while offset < len(encoded) and encoded[offset] & 0xC0 == 0x80:
        offset -= 1
    return offset
