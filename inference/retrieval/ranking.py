"""Reciprocal rank fusion: one order out of several rankings of the same chunks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from astrolabe_server.persistence.store import Hit

SMOOTHING = 60
"""The k of reciprocal rank fusion: the greater, the less the first ranks count."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A chunk in the fused order; `score` is between 0 and 1, 1 for the first of every ranking."""

    vector_store: str
    hit: Hit
    score: float


Ranking = Sequence[tuple[str, Hit]]
"""Hits of one query by one measure, best first, each with the vector store that it is from."""


def merge(results: Iterable[tuple[str, Sequence[Hit]]]) -> Ranking:
    """One ranking of what several vector stores answered to one query by one measure."""
    hits = [(vector_store, hit) for vector_store, found in results for hit in found]
    return sorted(hits, key=lambda item: -item[1].score)


def fuse(rankings: Sequence[Ranking]) -> list[Ranked]:
    """The chunks of all rankings, best first; a text that is there twice counts once."""
    scores: dict[tuple[str, str], float] = {}
    firsts: dict[tuple[str, str], tuple[str, Hit]] = {}
    for ranking in rankings:
        seen = set()
        for vector_store, hit in ranking:
            key = (hit.file_id, hit.text)
            if key in seen:
                continue
            seen.add(key)
            firsts.setdefault(key, (vector_store, hit))
            scores[key] = scores.get(key, 0.0) + (SMOOTHING + 1) / (SMOOTHING + len(seen))
    best = sorted(scores, key=lambda key: -scores[key])
    return [Ranked(*firsts[key], scores[key] / len(rankings)) for key in best]
