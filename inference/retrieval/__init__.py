"""From an uploaded file to a cited answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from astrolabe_server.persistence.store import Filter


@dataclass(frozen=True, slots=True)
class Found:
    """One search result, best first; `score` is between 0 and 1."""

    file_id: str
    filename: str
    score: float
    text: str
    attributes: dict[str, str | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ranking:
    """OpenAI's ranking_options."""

    ranker: str = "auto"
    score_threshold: float = 0.0


class Retrieval:
    """Ingests files into vector stores and searches them."""

    async def search(
        self,
        project: str,
        vector_stores: Sequence[str],
        queries: Sequence[str],
        *,
        limit: int = 10,
        filter: Filter | None = None,
        ranking: Ranking | None = None,
    ) -> list[Found]:
        """The best chunks of several vector stores for several queries, fused into one order."""
        raise NotImplementedError
