"""Fuse two rankings into one: reciprocal rank fusion, weighted by relevance.

A hit's relevance, between 0 and 1, is how well it matches by itself. By vectors it is the cosine. By
words it is its BM25 score as a share of the best hit's, times the share of the query's words that the
best hit contains: BM25 has no scale of its own, and in a store of three files every score is near 0.

A chunk's score is the sum of its reciprocal ranks by both measures (1 if it is first by both), times
the mean of its relevances. Ranks make the order robust. Relevances give score_threshold a meaning: a
bad match has a low score even if nothing matches better. With one measure the score is its relevance.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from inference.retrieval.rewriting import WORD, rewrite_query
from persistence.store import Hit

SMOOTHING = 60
"""The k of reciprocal rank fusion: the greater, the less the first ranks count."""

MIN_STEM, ENDING = 4, 3
"""A text contains a word if it contains its beginning: all but the last ENDING letters, MIN_STEM at least."""

Result = tuple[str, Sequence[Hit]]
"""A vector store's id, and what it answered, best first."""


class StoreHit(NamedTuple):
    """A hit, and the vector store that it is from."""

    vector_store: str
    hit: Hit


@dataclass(frozen=True, slots=True)
class Ranking:
    """The hits of one query by one measure, best first, of however many vector stores.

    The relevance of a hit is its score times `scale`, kept between 0 and 1.
    """

    store_hits: Sequence[StoreHit]
    scale: float = 1.0

    @classmethod
    def by_vectors(cls, results: Iterable[Result]) -> "Ranking":
        """Return the ranking by cosines."""
        return cls(_merged(results))

    @classmethod
    def by_text(cls, query: str, results: Iterable[Result]) -> "Ranking":
        """Return the ranking by BM25."""
        store_hits = _merged(results)
        if not store_hits or store_hits[0].hit.score <= 0:
            return cls(store_hits)
        best = store_hits[0].hit
        return cls(store_hits, coverage(query, best.text) / best.score)

    def relevance(self, hit: Hit) -> float:
        """Return how well a hit matches by itself, between 0 and 1."""
        return min(max(hit.score * self.scale, 0.0), 1.0)


def coverage(query: str, text: str) -> float:
    """Return the share of the query's words whose beginnings are in the text."""
    words = set(WORD.findall(rewrite_query(query).lower()))
    text = text.lower()
    held = sum(word[: max(MIN_STEM, len(word) - ENDING)] in text for word in words)
    return max(held, 1) / max(len(words), 1)


def _merged(results: Iterable[Result]) -> list[StoreHit]:
    """Merge the hits of several vector stores into one ranking; a text that occurs twice counts once."""
    store_hits = [StoreHit(vector_store, hit) for vector_store, hits in results for hit in hits]
    store_hits.sort(key=lambda store_hit: -store_hit.hit.score)
    firsts: dict[tuple[str, str], StoreHit] = {}
    for store_hit in store_hits:
        firsts.setdefault(_identity(store_hit), store_hit)
    return list(firsts.values())


@dataclass(slots=True)
class Ranked:
    """A chunk and its score, between 0 and 1."""

    store_hit: StoreHit
    score: float


@dataclass(slots=True)
class _Sums:
    store_hit: StoreHit
    ranks: float = 0.0
    relevance: float = 0.0


def fuse(rankings: Sequence[Ranking]) -> list[Ranked]:
    """Fuse the rankings of one query; return its chunks, best first."""
    sums: dict[tuple[str, str], _Sums] = {}
    for ranking in rankings:
        for rank, store_hit in enumerate(ranking.store_hits):
            item = sums.setdefault(_identity(store_hit), _Sums(store_hit))
            item.ranks += (SMOOTHING + 1) / (SMOOTHING + 1 + rank) / len(rankings)
            item.relevance += ranking.relevance(store_hit.hit) / len(rankings)
    alone = len(rankings) == 1
    return _sorted(
        Ranked(item.store_hit, item.relevance * (1 if alone else item.ranks)) for item in sums.values()
    )


def unite(queries: Iterable[Sequence[Ranked]]) -> list[Ranked]:
    """Merge the chunks of several queries, each with its best score."""
    best: dict[tuple[str, str], Ranked] = {}
    for ranked in queries:
        for item in ranked:
            known = best.setdefault(_identity(item.store_hit), item)
            known.score = max(known.score, item.score)
    return _sorted(best.values())


def _identity(store_hit: StoreHit) -> tuple[str, str]:
    return store_hit.hit.file_id, store_hit.hit.text


def _sorted(ranked: Iterable[Ranked]) -> list[Ranked]:
    return sorted(ranked, key=lambda item: -item.score)
