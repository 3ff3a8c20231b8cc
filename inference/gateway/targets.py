"""One model at one provider, with the credentials to use it."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from inference.gateway.secrets_filter import SHORT, SecretsFilter, secrets_filter

Wire = Literal["openai", "responses", "litellm", "local"]

UnknownFields = Literal["pass", "drop", "refuse"]
"""What becomes of fields of a chat request that OpenAI's does not have."""


@dataclass(frozen=True, slots=True)
class Target:
    """One model at one provider; times are in seconds, `attempts` counts the first one too.

    `read_timeout` is the longest silence, before the first byte and between two. `is_callers` targets
    are asked with a caller's credentials or not at all. A `base_url` that `is_callers_url` is called at
    `address`, which was checked.
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
    max_inputs: int | None = None
    max_input_tokens: int | None = None
    """Inputs of one request, of embeddings or moderations; None for the provider's known limits."""
    unknown_fields: UnknownFields | None = None
    """None: OpenAI itself refuses them, every other provider gets them."""
    is_callers: bool = False
    is_callers_url: bool = False
    address: str = ""

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
