"""One model at one provider, with the credentials to use it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

from inference.gateway.secrets_filter import SHORT, SecretsFilter, secrets_filter

Wire = Literal["openai", "responses", "litellm", "local"]

UnknownFields = Literal["pass", "drop", "refuse"]
"""What becomes of fields of a chat request that OpenAI's does not have."""


@dataclass(frozen=True, slots=True)
class CooldownRule:
    """A deployment cools down for `seconds` after so many failures in a row within `window` seconds."""

    failures: int = 3
    window: float = 60.0
    seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment: one model at one provider. Times are in seconds, `attempts` counts the first one too.

    `read_timeout` is the longest silence, before the first byte (unless there is a `first_byte_timeout`)
    and between two; `total_timeout` is for the whole of one attempt. `max_concurrent` counts a worker's
    requests. `default_fields` and `forced_fields` are put into requests, `drop_fields` are left out.
    `is_callers` targets are asked with a caller's credentials or not at all. A `base_url` that
    `is_callers_url` is called at `address`, which was checked.
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
    first_byte_timeout: float | None = None
    total_timeout: float | None = None
    attempts: int = 3
    weight: float = 1.0
    max_concurrent: int | None = None
    cooldown: CooldownRule = CooldownRule()
    default_fields: Mapping[str, Any] = field(default_factory=dict, hash=False)
    forced_fields: Mapping[str, Any] = field(default_factory=dict, hash=False)
    drop_fields: frozenset[str] = frozenset()
    drops_unsupported: bool = False
    context_window: int | None = None
    reads_images: bool | None = None
    max_inputs: int | None = None
    max_input_tokens: int | None = None
    """Inputs of one request, of embeddings or moderations; None for the provider's known limits."""
    unknown_fields: UnknownFields | None = None
    """None: OpenAI itself refuses them, every other provider gets them."""
    is_callers: bool = False
    is_callers_url: bool = False
    address: str = ""
    name: str = ""
    """Provider and model as the file has them, for logs and metrics: a pattern's has its `*`."""
    key: str = ""
    """Provider and model as they are asked, by which workers share what they know of a deployment."""

    def __post_init__(self) -> None:
        """Fill in the name and the key."""
        key = f"{self.provider}/{self.model}"
        object.__setattr__(self, "key", key)
        if not self.name:
            object.__setattr__(self, "name", key)

    def for_model(self, part: str) -> "Target":
        """Return the target with `part` in place of the `*` of its model."""
        return replace(self, model=self.model.replace("*", part)) if "*" in self.model else self

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
    values = (("api_key", api_key), *named)
    return tuple(value for name, value in values if isinstance(value, str) and is_secret(name, value))


def is_secret(name: str, value: str) -> bool:
    """Return whether a key, header or parameter of that name is a secret by its name, and has a value."""
    return bool(value) and _SECRET.search(name) is not None and value.lower() not in _PLACEHOLDERS


_PLACEHOLDERS = frozenset({"any", "anything", "empty", "none"})
"""What stands for a key where a provider needs none."""


_SECRET = re.compile("auth|key|token|secret|password|credential|cookie", re.IGNORECASE)
