"""The only way to a model: routes by name, drivers by wire, errors as OpenAI's."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Credentials:
    """A caller's own provider key (and base URL), for one request: never stored, never logged."""

    api_key: str | None = None
    base_url: str | None = None
    parameters: tuple[tuple[str, str], ...] = ()


class Gateway:
    """Sends chat completions and embeddings to the provider that serves the model's name.

    Requests and answers are OpenAI's wire objects as plain dicts. Every method raises
    ModelNotFound or a ProviderError; retries and fallbacks happen inside, before the first byte.
    """

    async def open(self) -> None:
        """Make the session; called in each worker after the fork."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of every connection."""
        raise NotImplementedError

    def models(self) -> list[JSON]:
        """Every route and alias as OpenAI's model object."""
        raise NotImplementedError

    async def complete(self, request: JSON, credentials: Credentials | None = None) -> JSON:
        """A chat completion that is not streamed."""
        raise NotImplementedError

    def relay(self, request: JSON, credentials: Credentials | None = None) -> AsyncIterator[bytes]:
        """A streamed chat completion as the provider's own SSE frames, to the end of `[DONE]`.

        The first item is awaited before anything is sent to a client, so an error before the first
        byte is raised here; later ones come as an error event. Closing it closes the upstream call.
        """
        raise NotImplementedError

    def chunks(self, request: JSON, credentials: Credentials | None = None) -> AsyncIterator[JSON]:
        """A streamed chat completion as chunk objects; any error is raised as a ProviderError."""
        raise NotImplementedError

    async def embed(self, request: JSON, credentials: Credentials | None = None) -> JSON:
        """Embeddings, as `POST /embeddings` answers."""
        raise NotImplementedError

    def default_embedding_model(self) -> str | None:
        """The model that vector stores are embedded with, or None: then search is BM25 alone."""
        raise NotImplementedError

    def context_window(self, model: str) -> int:
        """How many tokens the model takes, prompt and completion together (a guess if unknown)."""
        raise NotImplementedError
