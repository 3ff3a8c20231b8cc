"""One order out of what two measures say: reciprocal rank fusion, weighted by relevance.

A hit's relevance is how well it matches by itself: the cosine of its vector, and its BM25 score
brought to the same scale. A chunk's score is the reciprocal ranks that it has by both measures, 1
where it is first by both, times the mean of both relevances. So the order is robust, as ranks are,
and a threshold means something, as ranks do not: what matches badly has a low score even where
nothing matches better. Where there is one measure alone, the score is the relevance by it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from astrolabe_server.persistence.store import Hit

SMOOTHING = 60
"""The k of reciprocal rank fusion: the greater, the less the first ranks count."""

HALF_RELEVANT = 10.0
"""The BM25 score whose relevance is one half; the cosines of good hits are about that, too."""

Measure = Literal["text", "vectors"]


class Place(NamedTuple):
    """A hit, and the vector store that it is from."""

    vector_store: str
    hit: Hit


@dataclass(frozen=True, slots=True)
class Ranking:
    """The hits of one query by one measure, best first, of however many vector stores."""

    measure: Measure
    places: Sequence[Place]

    @classmethod
    def of(cls, measure: Measure, results: Iterable[tuple[str, Sequence[Hit]]]) -> "Ranking":
        """One ranking of what several vector stores answered; a text that is there twice counts once."""
        places = [Place(vector_store, hit) for vector_store, hits in results for hit in hits]
        places.sort(key=lambda place: -place.hit.score)
        return cls(measure, list({_identity(place): place for place in reversed(places)}.values())[::-1])

    def relevance(self, hit: Hit) -> float:
        """How well a hit matches by itself, between 0 and 1."""
        score = max(hit.score, 0.0)
        return min(score, 1.0) if self.measure == "vectors" else score / (score + HALF_RELEVANT)


@dataclass(slots=True)
class Ranked:
    """A chunk and its score, between 0 and 1."""

    place: Place
    score: float


@dataclass(slots=True)
class _Sums:
    place: Place
    ranks: float = 0.0
    relevance: float = 0.0


def fuse(rankings: Sequence[Ranking]) -> list[Ranked]:
    """The chunks of one query by all of its measures, best first."""
    sums: dict[tuple[str, str], _Sums] = {}
    for ranking in rankings:
        for rank, place in enumerate(ranking.places):
            item = sums.setdefault(_identity(place), _Sums(place))
            item.ranks += (SMOOTHING + 1) / (SMOOTHING + 1 + rank) / len(rankings)
            item.relevance += ranking.relevance(place.hit) / len(rankings)
    alone = len(rankings) == 1
    return _sorted(
        Ranked(item.place, item.relevance * (1 if alone else item.ranks)) for item in sums.values()
    )


def unite(queries: Iterable[Sequence[Ranked]]) -> list[Ranked]:
    """The chunks of several queries, each with its best score."""
    best: dict[tuple[str, str], Ranked] = {}
    for ranked in queries:
        for item in ranked:
            known = best.setdefault(_identity(item.place), item)
            known.score = max(known.score, item.score)
    return _sorted(best.values())


def _identity(place: Place) -> tuple[str, str]:
    return place.hit.file_id, place.hit.text


def _sorted(ranked: Iterable[Ranked]) -> list[Ranked]:
    return sorted(ranked, key=lambda item: -item.score)
