"""Vectors of texts, by the model that a vector store was made with."""

from collections.abc import Sequence

from inference.gateway import Gateway

Vector = list[float]


class Embedder:
    """Asks the gateway for embeddings; retries are the gateway's."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def default_model(self) -> str | None:
        """The model that new vector stores get; None: their search is BM25 alone."""
        return self._gateway.default_embedding_model()

    async def embed(self, model: str, texts: Sequence[str]) -> list[Vector]:
        """A vector for each text, in order; ModelNotFound or a ProviderError."""
        request = {"model": model, "input": list(texts), "encoding_format": "float"}
        answer = await self._gateway.embed(request)
        return [item["embedding"] for item in answer["data"]]
