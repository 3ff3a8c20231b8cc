"""What the gateway asks of every way to a model."""

from collections.abc import AsyncGenerator
from typing import Any, Protocol

from inference.gateway.targets import Target

JSON = dict[str, Any]


class Driver(Protocol):
    """Sends a request to one target, once; raises ProviderErrors only."""

    async def complete(self, target: Target, request: JSON) -> JSON:
        """A chat completion."""

    def stream(self, target: Target, path: str, request: JSON) -> AsyncGenerator[bytes, None]:
        """What is streamed at `path` as whole SSE frames up to `[DONE]`; closing it ends the call."""

    async def embed(self, target: Target, request: JSON) -> JSON:
        """Embeddings."""

    async def relay(self, target: Target, path: str, request: JSON) -> JSON:
        """Any other request of OpenAI's wire, by its path; ProviderRejected where there is none."""

    async def list_models(self, target: Target) -> list[JSON]:
        """The models that the provider says it has, as OpenAI's model objects."""

    async def close(self) -> None:
        """Let go of every connection."""
