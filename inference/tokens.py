"""Count and decode tokens, without network access: litellm ships the table."""

from binascii import a2b_base64
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import tiktoken

_TABLE = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
"""The file name of the table of cl100k_base in tiktoken's cache, and in litellm."""

_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+|"
    r" ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
_SPECIAL = {
    "<|endoftext|>": 100257,
    "<|fim_prefix|>": 100258,
    "<|fim_middle|>": 100259,
    "<|fim_suffix|>": 100260,
    "<|endofprompt|>": 100276,
}


def encode(text: str) -> list[int]:
    """Return the tokens of `text` by cl100k_base, without special tokens. Takes 2 µs a token."""
    return encoding().encode_ordinary(text)


def decode(tokens: Sequence[int]) -> str:
    """Return the text of `tokens`; raise ValueError for an unknown one. Broken characters become U+FFFD."""
    try:
        return encoding().decode_bytes(tokens).decode(errors="replace")
    except (KeyError, OverflowError) as exc:
        raise ValueError(f"{exc} is not a token") from exc


def count(text: str) -> int:
    """Return the number of tokens by cl100k_base, a few percent off for other models."""
    return len(encode(text))


@cache
def encoding() -> tiktoken.Encoding:
    """Return cl100k_base.

    The first call takes 0.2 s, for much of which it holds Python's lock, and 40 MB: gunicorn's master makes
    it for all workers.
    """
    spec = find_spec("litellm")  # without importing it, which takes seconds
    if spec is None or spec.origin is None:
        raise FileNotFoundError("litellm, which brings the table of cl100k_base, is not installed")
    table = Path(spec.origin).parent / "litellm_core_utils" / "tokenizers" / _TABLE
    # tiktoken's own loader would copy the file into a folder that all users of the machine share.
    words = table.read_bytes().split()  # tokens and their ranks, in turn
    ranks = dict(zip(map(a2b_base64, words[::2]), map(int, words[1::2]), strict=True))
    return tiktoken.Encoding("cl100k_base", pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens=_SPECIAL)
