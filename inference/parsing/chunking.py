"""Split a text into overlapping chunks of a fixed number of tokens."""

from array import array
from dataclasses import dataclass
from typing import Any

import tiktoken


@dataclass(frozen=True, slots=True)
class Chunking:
    """How a file is split: tokens in a chunk, and how many of them it shares with the one before."""

    size: int = 800
    overlap: int = 400

    def rendered(self) -> dict[str, Any]:
        """Return the chunking_strategy of a vector store's file, as OpenAI's API has it."""
        static = {"max_chunk_size_tokens": self.size, "chunk_overlap_tokens": self.overlap}
        return {"type": "static", "static": static}


AUTO = Chunking()


SEGMENT = 1 << 16
"""Characters that are tokenized at once: the encoder's time is quadratic in the length of one word."""


class Chunker:
    """Splits texts by the tokens of one encoding, whose table it prepares once."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding
        ordinary = range(len(encoding.token_byte_values()))
        self._lengths = [len(encoding.decode_single_token_bytes(token)) for token in ordinary]

    def split(self, text: str, chunking: Chunking) -> list[tuple[int, int]]:
        """Return the chunks of a text as (start, end) offsets into its UTF-8 bytes, at character boundaries.

        The first chunk that reaches the end is the last one, so no chunk is contained in another.
        """
        ends = self._token_ends(text)
        count = len(ends)
        encoded = text.encode()
        spans = []
        for first in range(0, count, chunking.size - chunking.overlap):
            last = min(first + chunking.size, count)
            start = _character_start(encoded, ends[first - 1] if first else 0)
            spans.append((start, _character_start(encoded, ends[last - 1])))
            if last == count:
                break
        return spans

    def _token_ends(self, text: str) -> "array[int]":
        """Return the byte offset at which each token ends."""
        ends = array("q")
        end = 0
        for start in range(0, len(text), SEGMENT):
            for token in self._encoding.encode_ordinary(text[start : start + SEGMENT]):
                end += self._lengths[token]
                ends.append(end)
        return ends


def _character_start(encoded: bytes, offset: int) -> int:
    """Return the start of the character that contains this byte offset."""
    while offset < len(encoded) and encoded[offset] & 0xC0 == 0x80:
        offset -= 1
    return offset
