"""One model at one provider, with the credentials to use it."""

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

import yarl

from inference.errors import ProviderRejected
from inference.gateway.secrets_filter import SHORT, SecretsFilter, secrets_filter

Wire = Literal["openai", "litellm", "local"]

UnknownFields = Literal["pass", "drop", "refuse"]
"""What becomes of fields of a chat request that OpenAI's does not have."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A caller's own provider key (and base URL), for one request: never stored, never logged.

    `parameters` are further ones by name, such as ("aws_region_name", "eu-west-1"); only providers
    that are reached through litellm know any.
    """

    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    parameters: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """One model at one provider; times are in seconds, `attempts` counts the first one too.

    `read_timeout` is the longest silence, before the first byte and between two.
    """

    provider: str
    wire: Wire
    model: str
    base_url: str = ""
    api_key: str | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    parameters: tuple[tuple[str, str | bool | float], ...] = field(default=(), repr=False)
    connect_timeout: float = 10.0
    read_timeout: float = 600.0
    attempts: int = 3
    context_window: int | None = None
    unknown_fields: UnknownFields | None = None
    """None: OpenAI itself refuses them, every other provider gets them."""

    @property
    def filter(self) -> SecretsFilter:
        """What keeps the target's secrets out of answers; a short one may be a word of the answer."""
        return secrets_filter(tuple(secret for secret in self.secrets() if len(secret) >= SHORT))

    @property
    def error_filter(self) -> SecretsFilter:
        """What keeps the target's secrets, short ones too, out of errors."""
        return secrets_filter(self.secrets())

    def secrets(self) -> tuple[str, ...]:
        """Return the values that no client may see, whatever the provider answers."""
        return _secrets(self.api_key, (*self.headers, *self.parameters))


@lru_cache(maxsize=1024)
def _secrets(api_key: str | None, named: tuple[tuple[str, str | bool | float], ...]) -> tuple[str, ...]:
    values = (api_key, *(value for name, value in named if _SECRET.search(name)))
    return tuple(
        value for value in values if isinstance(value, str) and value and value.lower() not in _PLACEHOLDERS
    )


_PLACEHOLDERS = frozenset({"any", "anything", "empty", "none"})
"""What stands for a key where a provider needs none."""


_SECRET = re.compile("auth|key|token|secret|password|credential|cookie", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CallerPolicy:
    """What the operator lets callers choose: their own provider key, and hosts for their base URL.

    Without `accepts_credentials` callers' credentials are ignored. A host is `name`, for its scheme's
    default port, or `name:port`. By default no host is allowed: callers must not reach into the
    operator's network.
    """

    accepts_credentials: bool = False
    hosts: frozenset[str] = frozenset()

    def apply(self, target: Target, credentials: Credentials) -> Target:
        """Return `target` with the caller's credentials; raise ProviderRejected for what callers may not set.

        The operator's key and headers go to the operator's base URL only.
        """
        parameters = dict(credentials.parameters)
        base_url = credentials.base_url
        for name in ("base_url", "api_base"):
            base_url = parameters.pop(name, None) if base_url is None else base_url
        if base_url is not None:
            target = replace(
                target, base_url=self._permitted(base_url), api_key=None, headers=(), parameters=()
            )
        if credentials.api_key is not None:
            target = replace(target, api_key=credentials.api_key, headers=())
        if parameters:
            _check(parameters)
            target = replace(target, parameters=(*target.parameters, *parameters.items()))
        return target

    def _permitted(self, base_url: str) -> str:
        try:
            url = yarl.URL(base_url)
            host, port = (url.host or "").lower(), url.port
        except ValueError as exc:
            raise ProviderRejected.invalid("The provider's base URL is not a valid URL.", "base_url") from exc
        plain = url.scheme in ("http", "https") and not url.user and not url.query_string and not url.fragment
        named = f"{host}:{port}" in self.hosts or (url.is_default_port() and host in self.hosts)
        if not (plain and named):
            message = f"The provider's base URL names the host '{host}', which this server does not call."
            raise ProviderRejected.invalid(message, "base_url")
        return base_url.rstrip("/")


PARAMETERS = frozenset(
    {
        "api_version",
        "aws_access_key_id",
        "aws_region_name",
        "aws_secret_access_key",
        "aws_session_token",
        "azure_ad_token",
        "organization",
        "vertex_location",
        "vertex_project",
    }
)
"""The parameters of litellm that a caller may send; others name files, hosts or code of the server."""

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
_TOKENS = frozenset({"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "azure_ad_token"})


def _check(parameters: dict[str, str]) -> None:
    for name, value in parameters.items():
        if name not in PARAMETERS:
            raise ProviderRejected.invalid(
                f"The provider parameter '{name}' cannot be sent with a request.", name
            )
        # Regions and the like become a part of the provider's address.
        if name not in _TOKENS and not set(value) <= _SAFE:
            raise ProviderRejected.invalid(
                f"The provider parameter '{name}' has an unexpected character.", name
            )
