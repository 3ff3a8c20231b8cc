"""A caller's own provider key, from request headers; used only if ASTROLABE_CALLER_KEYS allows it."""

from collections.abc import Mapping

from inference.gateway import Credentials

CHAT = "llm-param-"
EMBEDDING = "embedding-param-"

CALLER_HEADERS = frozenset(
    {
        "api-key",
        "api-version",
        "astra-api-token",
        "astra-db-id",
        "aws-access-key-id",
        "aws-region-name",
        "aws-secret-access-key",
        "base-url",
        "custom-llm-provider",
        "embedding-model",
        "google-application-credentials-file-id",
        "project-id",
        "vertexai-location",
        "vertexai-project",
    }
)
"""Headers in which callers say who they are and which provider is asked for them, once each."""


def chat_credentials(headers: Mapping[str, str]) -> Credentials | None:
    """Return the credentials of `api-key` and the `LLM-PARAM-*` headers; None without them."""
    return _credentials(headers, CHAT)


def embedding_credentials(headers: Mapping[str, str]) -> Credentials | None:
    """Return the credentials of `api-key` and the `EMBEDDING-PARAM-*` headers; None without them."""
    return _credentials(headers, EMBEDDING)


def _credentials(headers: Mapping[str, str], prefix: str) -> Credentials | None:
    parameters = {
        name.removeprefix(prefix).replace("-", "_"): headers[name]
        for name in headers
        if name.startswith(prefix)
    }
    api_key = parameters.pop("api_key", None) or headers.get("api-key")
    base_url = parameters.pop("base_url", None) or parameters.pop("api_base", None)
    if not (api_key or base_url or parameters):
        return None
    return Credentials(api_key, base_url, tuple(parameters.items()))
