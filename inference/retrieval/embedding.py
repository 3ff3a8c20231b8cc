"""Vectors of texts, by the model that a vector store was made with."""

from collections.abc import Sequence

from inference.gateway import Credentials, Gateway

Vector = list[float]


class Embedder:
    """Asks the gateway for embeddings; retries are the gateway's."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def default_model(self) -> str | None:
        """Return the model of new vector stores; None if they are searched by BM25 alone."""
        return self._gateway.default_embedding_model()

    async def embed_query(self, model: str, text: str, credentials: Credentials | None = None) -> Vector:
        """Return the vector of a query; a string as input, which the local model embeds ahead of lists."""
        return (await self._embed(model, text, credentials))[0]

    async def embed(
        self, model: str, texts: Sequence[str], credentials: Credentials | None = None
    ) -> list[Vector]:
        """Return a vector for each text, in order; raise ModelNotFound or a ProviderError."""
        return await self._embed(model, list(texts), credentials)

    async def _embed(
        self, model: str, input: str | list[str], credentials: Credentials | None
    ) -> list[Vector]:
        request = {"model": model, "input": input, "encoding_format": "float"}
        answer = await self._gateway.embed(request, credentials)
        return [item["embedding"] for item in answer["data"]]
