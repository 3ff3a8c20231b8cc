"""Hybrid search over vector stores: BM25 and vectors, fused into one order."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from inference.errors import ModelNotFound, ProviderError
from inference.gateway import Credentials
from inference.retrieval.attachments import vector_store_file_id
from inference.retrieval.embedding import Embedder, Vector
from inference.retrieval.ranking import Ranked, Ranking, Result, fuse, unite
from inference.retrieval.vector_stores import VectorStores
from persistence.collections import VECTOR_STORE_FILES
from persistence.errors import DimensionMismatch
from persistence.store import Document, Filter, Key, Store

DEFAULT_RESULTS = 10

DEPTH = 50
"""Hits of each measure that are fused at least (twice the limit if that is more): the best hit of one
measure may be far down the other."""

QUERIES_AT_ONCE = 4
"""Queries of one search that are answered at the same time, so that other searches get their turn."""

NO_FUSION = "none"
"""The ranker that orders by vectors alone; all others are hybrid."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Found:
    """One search result, best first; `score` is between 0 and 1."""

    file_id: str
    filename: str
    score: float
    text: str
    attributes: dict[str, str | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RankingOptions:
    """OpenAI's ranking_options."""

    ranker: str = "auto"
    score_threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class _Query:
    """One query of a search: `depth` hits of each measure are fused, by `ranker`."""

    text: str
    depth: int
    filter: Filter | None
    ranker: str
    credentials: Credentials | None


class Search:
    """Finds chunks in vector stores, each by the embedding model that it was made with."""

    def __init__(self, store: Store, embedder: Embedder, vector_stores: VectorStores) -> None:
        self._store = store
        self._embedder = embedder
        self._vector_stores = vector_stores

    async def search(
        self,
        project: str,
        vector_stores: Sequence[str],
        queries: Sequence[str],
        *,
        limit: int = DEFAULT_RESULTS,
        filter: Filter | None = None,
        ranking: RankingOptions | None = None,
        credentials: Credentials | None = None,
    ) -> list[Found]:
        """Return the best chunks of several vector stores for several queries, best first.

        Raises ObjectNotFound for a store that does not exist, RequestRefused for one that has expired.
        """
        options = ranking or RankingOptions()
        stores = [await self._vector_stores.usable(project, id) for id in dict.fromkeys(vector_stores)]
        depth = max(DEPTH, 2 * limit)
        slots = asyncio.Semaphore(QUERIES_AT_ONCE)

        async def rank(query: str) -> list[Ranked]:
            async with slots:
                asked = _Query(query, depth, filter, options.ranker, credentials)
                return fuse(await self._rankings(stores, asked))

        ranked = unite(await asyncio.gather(*(rank(query) for query in queries if query.strip())))
        above = [item for item in ranked if item.score >= options.score_threshold]
        found = await self._found(project, above, limit)
        for store in stores:
            await self._vector_stores.note_use(store)
        return found

    async def _rankings(self, stores: Sequence[Document], query: _Query) -> list[Ranking]:
        """Return the rankings of one query: by words, and by vectors if there are some."""
        if query.ranker == NO_FUSION:
            return [await self._by_vectors(stores, query) or await self._by_text(stores, query)]
        vectors, text = await asyncio.gather(self._by_vectors(stores, query), self._by_text(stores, query))
        return [text] if vectors is None else [vectors, text]

    async def _by_text(self, stores: Sequence[Document], query: _Query) -> Ranking:
        async def search(store: Document) -> Result:
            hits = await self._store.search_text(
                store.key.project, store.id, query.text, query.depth, query.filter
            )
            return store.id, hits

        return Ranking.by_text(query.text, await asyncio.gather(*map(search, stores)))

    async def _by_vectors(self, stores: Sequence[Document], query: _Query) -> Ranking | None:
        """Return the ranking by vectors; None if no store has some, or no model could embed the query."""
        vectors = await self._vectors(stores, query)
        if not vectors:
            return None

        async def search(store: Document) -> Result:
            vector = vectors.get(store.state["embedding_model"] or "")
            if vector is None:
                return store.id, ()
            try:
                hits = await self._store.search_vectors(
                    store.key.project, store.id, vector, query.depth, query.filter
                )
            except DimensionMismatch as exc:
                log.warning("search_without_vectors", vector_store=store.id, reason=str(exc))
                return store.id, ()
            return store.id, hits

        return Ranking.by_vectors(await asyncio.gather(*map(search, stores)))

    async def _vectors(self, stores: Sequence[Document], query: _Query) -> dict[str, Vector]:
        """Return the query's vector by each of the stores' models; a model that fails is left out."""
        vectors = {}
        for model in dict.fromkeys(store.state["embedding_model"] for store in stores):
            if model is None:
                continue
            try:
                vectors[model] = await self._embedder.embed_query(model, query.text, query.credentials)
            except (ModelNotFound, ProviderError) as exc:
                log.warning("search_without_vectors", model=model, reason=str(exc))
        return vectors

    async def _found(self, project: str, ranked: Sequence[Ranked], limit: int) -> list[Found]:
        """Return the first `limit` results whose files are completely ingested."""
        store_files: dict[str, Document | None] = {}
        found: list[Found] = []
        for item in ranked:
            if len(found) == limit:
                break
            id = vector_store_file_id(item.store_hit.vector_store, item.store_hit.hit.file_id)
            if id not in store_files:
                store_files[id] = await self._store.get(Key(project, VECTOR_STORE_FILES, id))
            store_file = store_files[id]
            if store_file is None or store_file.value["status"] != "completed":
                continue
            found.append(
                Found(
                    item.store_hit.hit.file_id,
                    store_file.state["filename"],
                    item.score,
                    item.store_hit.hit.text,
                    dict(store_file.value["attributes"]),
                )
            )
        return found
