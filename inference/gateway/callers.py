"""A caller's own provider settings, for one request, and what the operator lets them change."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from inference.errors import ProviderRejected
from inference.gateway.http.hosts import HEADER, HostGuard
from inference.gateway.routing.targets import Target
from persistence.types import JSON

AZURE_VERSION = "2024-10-21"
"""The version of Azure's API where the caller names none."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A caller's own provider key (and base URL), for one request: never stored in the clear, never logged.

    `parameters` are further ones by name, such as ("aws_region_name", "eu-west-1"); only providers
    that are reached through litellm, and Azure, know any. `provider` is the one that a model's name
    belongs to if it does not say so. `fields` are added to requests that do not have them. `google` is
    a checked credentials file of Google's, as JSON.
    """

    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = field(default=None, repr=False)
    parameters: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    provider: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)
    google: str | None = field(default=None, repr=False)

    @property
    def has_account(self) -> bool:
        """Whether another account than the operator's is asked, or another URL."""
        return bool(self.api_key or self.base_url or self.parameters or self.google)


@dataclass(frozen=True, slots=True)
class CallerSettings:
    """What one request says about the providers and servers that are asked for it.

    `embedding_model` is that of the vector stores that the request creates. `servers` has what is sent to MCP
    servers, by their labels: `authorization` and `headers`.
    """

    chat: Credentials = Credentials()
    embedding: Credentials = Credentials()
    embedding_model: str | None = None
    servers: Mapping[str, JSON] = field(default_factory=dict, repr=False)

    @property
    def for_chat(self) -> Credentials | None:
        """The credentials for chat completions; None without any."""
        return None if self.chat == Credentials() else self.chat

    @property
    def for_embedding(self) -> Credentials | None:
        """The credentials for embeddings; None without any."""
        return None if self.embedding == Credentials() else self.embedding

    def to_json(self) -> JSON:
        """Return the settings as JSON, which is not to be stored unsealed."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: JSON) -> Self:
        """Return the settings that `to_json` gave."""
        chat, embedding = _credentials(value["chat"]), _credentials(value["embedding"])
        return cls(chat, embedding, value["embedding_model"], value["servers"])


def _credentials(value: JSON) -> Credentials:
    parameters = tuple((name, each) for name, each in value["parameters"])
    return Credentials(**{**value, "parameters": parameters})


@dataclass(frozen=True, slots=True)
class CallerPolicy:
    """What the operator lets callers choose: their own provider key, and hosts for their base URL.

    Without `accepts_credentials` callers' credentials are ignored.
    """

    accepts_credentials: bool = False
    guard: HostGuard = field(default_factory=HostGuard)

    def apply(self, target: Target, credentials: Credentials) -> Target:
        """Return `target` with the caller's credentials; raise ProviderRejected for what callers may not set.

        The operator's key and headers go to the operator's base URL only.
        """
        parameters = dict(credentials.parameters)
        base_url = credentials.base_url
        for name in ("base_url", "api_base"):
            base_url = parameters.pop(name, None) if base_url is None else base_url
        if base_url is not None:
            # litellm resolves names itself, perhaps to another address than was checked: only the operator
            # can vouch for its hosts.
            base_url = self.guard.check(base_url, only_listed=target.wire == "litellm")
            target = replace(
                target, base_url=base_url, is_callers_url=True, api_key=None, headers=(), parameters=()
            )
        if credentials.api_key is not None:
            target = replace(target, api_key=credentials.api_key, headers=())
        if parameters:
            _check(parameters)
            target = replace(target, parameters=(*target.parameters, *parameters.items()))
        if credentials.google is not None:
            google = ("vertex_credentials", credentials.google)
            target = replace(target, parameters=(*target.parameters, google))
        return target


def complete(target: Target) -> Target:
    """Return a target that works with a caller's credentials; ProviderRejected names a missing header."""
    given = dict(target.parameters)
    needs = _NEEDS.get(target.provider)
    if needs is not None:
        missing = next((header for name, header in needs.items() if not given.get(name)), None)
        target = replace(target, api_key=None)
    else:
        has_key = target.api_key or (target.provider == "openai" and target.is_callers_url)
        missing = None if has_key else "api-key"
    if missing is None and target.provider == "azure":
        missing = None if target.base_url else HEADER
    if missing is not None:
        message = (
            f"The provider '{target.provider}' is asked on its caller's account: the header '{missing}' is "
            "missing."
        )
        raise ProviderRejected.invalid(message, missing, "missing_header")
    if target.provider != "azure":
        return target
    return _on_azure(target, str(given.get("api_version") or AZURE_VERSION))


def _on_azure(target: Target, version: str) -> Target:
    """Return the target of a deployment: Azure has it in the path, and the key in a header of its own."""
    base_url = f"{target.base_url}/openai/deployments/{target.model}?api-version={version}"
    return replace(target, base_url=base_url, api_key=None, headers=(("api-key", target.api_key or ""),))


_AWS = {
    "aws_access_key_id": "aws-access-key-id",
    "aws_secret_access_key": "aws-secret-access-key",
    "aws_region_name": "aws-region-name",
}
_GOOGLE = {
    "vertex_project": "vertexai-project",
    "vertex_location": "vertexai-location",
    "vertex_credentials": "google-application-credentials-file-id",
}
_NEEDS = {
    "bedrock": _AWS,
    "bedrock_converse": _AWS,
    "sagemaker": _AWS,
    "sagemaker_chat": _AWS,
    "vertex_ai": _GOOGLE,
    "vertex_ai_beta": _GOOGLE,
}
"""The parameters, with their headers, of providers that take no key. Without them litellm would use the
machine's own account."""

ACCOUNT_PARAMETERS = frozenset(
    {
        "api_version",
        "aws_access_key_id",
        "aws_region_name",
        "aws_secret_access_key",
        "aws_session_token",
        "azure_ad_token",
        "organization",
        "project_id",
        "vertex_location",
        "vertex_project",
    }
)
"""The parameters that say on whose account a provider is asked; litellm's others may name files or hosts."""

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
_TOKENS = frozenset({"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "azure_ad_token"})


def _check(parameters: dict[str, str]) -> None:
    for name, value in parameters.items():
        if name not in ACCOUNT_PARAMETERS:
            raise ProviderRejected.invalid(
                f"The provider parameter '{name}' cannot be sent with a request.", name
            )
        # Regions and the like become a part of the provider's address.
        if name not in _TOKENS and not set(value) <= _SAFE:
            raise ProviderRejected.invalid(
                f"The provider parameter '{name}' has an unexpected character.", name
            )
