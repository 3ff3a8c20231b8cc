"""BM25 as FTS5 computes it, over texts in memory: https://www.sqlite.org/fts5.html#the_bm25_function."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from persistence.sqlite.words import Phrase

K1, B = 1.2, 0.75
LEAST = 1e-6
"""What a phrase weighs that more than half of the chunks have."""


def scores(texts: Sequence[Sequence[str]], phrases: Sequence[Phrase], total: int) -> list[float]:
    """Return how well each text matches; higher is better.

    `texts` are stems in order, `total` is the number of chunks.
    """
    weights = {phrase.stems: weight(phrase, total) for phrase in phrases}
    mean = sum(map(len, texts)) / max(1, len(texts))
    return [score(text, weights, len(text) / mean if mean else 1.0) for text in texts]


def weight(phrase: Phrase, total: int) -> float:
    """Return the inverse document frequency."""
    return max(LEAST, math.log((total - phrase.chunks + 0.5) / (phrase.chunks + 0.5)))


def score(text: Sequence[str], weights: dict[tuple[str, ...], float], length: float) -> float:
    """Return one text's score; `length` is relative to the mean length."""
    counts: Counter[tuple[str, ...]] = Counter(zip(text, strict=True))
    if any(len(stems) > 1 for stems in weights):
        counts.update(pairwise(text))
    saturation = K1 * (1 - B + B * length)
    return sum(
        inverse * counts[stems] * (K1 + 1) / (counts[stems] + saturation)
        for stems, inverse in weights.items()
    )
