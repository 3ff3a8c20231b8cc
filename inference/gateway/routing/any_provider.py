"""The route of callers who bring their own keys: a model's name says which provider is asked."""

import re
from dataclasses import replace

from inference.errors import ModelNotFound
from inference.gateway.routing.routes import OPENAI, Route, Routes
from inference.gateway.routing.targets import Target

EMBEDDING_MODEL = "openai/text-embedding-3-large"

PROVIDERS = frozenset(
    {
        "ai21", "ai21_chat", "anthropic", "azure_ai", "bedrock", "bedrock_converse", "cerebras", "codestral",
        "cohere", "cohere_chat", "dashscope", "databricks", "deepinfra", "deepseek", "fireworks_ai", "gemini",
        "github", "groq", "jina_ai", "meta_llama", "mistral", "moonshot", "nebius", "novita", "nvidia_nim",
        "openrouter", "perplexity", "replicate", "sagemaker", "sagemaker_chat", "sambanova", "together_ai",
        "vertex_ai", "vertex_ai_beta", "voyage", "watsonx", "xai",
    }
)  # fmt: skip
"""Providers that litellm reaches at an address of their own; not those on the server's own machine."""

BARE = (
    ("claude", "anthropic"),
    ("gemini", "gemini"),
    ("command", "cohere"),
    ("amazon.", "bedrock"),
    ("anthropic.", "bedrock"),
    ("cohere.", "bedrock"),
    ("meta.", "bedrock"),
)
"""Beginnings of names that stand for a provider where the name does not say it."""

NAME = re.compile(r"(?!.*//)[A-Za-z0-9][A-Za-z0-9._:@/-]*")
"""The form of a model's name, which becomes a part of the provider's URL."""


class AnyProvider(Route):
    """Sends `provider/model` to that provider, and other names to OpenAI."""

    __slots__ = ()

    def match(self, model: str, provider: str = "") -> Route | None:
        """Return the route to the one target of a model.

        `provider` is the caller's word where the name has none.
        """
        return Route(self.name, self.kind, (self._target(model, provider),))

    def _target(self, model: str, provider: str) -> Target:
        openai, other = self.targets
        if NAME.fullmatch(model) is None or ".." in model:
            raise ModelNotFound(model, "It is not a provider's model, such as 'anthropic/claude-sonnet-4-5'.")
        prefix, slash, rest = model.partition("/")
        if provider and prefix != provider:
            prefix, slash, rest = provider, "/", model
        if not slash:
            prefix = next((name for start, name in BARE if model.startswith(start)), "openai")
            rest = model
        if prefix in ("openai", "custom_openai"):
            return replace(openai, model=rest)
        if prefix == "azure":
            return replace(openai, provider="azure", model=rest, base_url="", api_key=None, is_callers=True)
        if prefix in PROVIDERS:
            return replace(other, provider=prefix, model=f"{prefix}/{rest}")
        if provider:
            raise ModelNotFound(model, f"The provider '{provider}' is not one that this server calls.")
        return replace(openai, model=model)


def callers_routes(api_key: str | None) -> Routes:
    """Return the routes for callers who bring their keys; `api_key` is the operator's for OpenAI, if any."""
    openai = Target("openai", "openai", "*", base_url=OPENAI, api_key=api_key, is_callers=api_key is None)
    other = Target("litellm", "litellm", "*", is_callers=True)
    return Routes({"*": AnyProvider("*", "chat", (openai, other))}, EMBEDDING_MODEL)
