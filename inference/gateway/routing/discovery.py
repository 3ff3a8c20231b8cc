"""Ask a provider, once at start-up, which embedding model it has."""

import urllib.request
from collections.abc import Sequence
from typing import Any

import structlog

from inference.gateway.answers import tolerant_json
from inference.gateway.drivers.openai_driver import url_of
from inference.gateway.paths import MODELS

PREFERRED = ("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002")
TIMEOUT = 2.0

log = structlog.get_logger("astrolabe.gateway")


def find_embedding_model(base_url: str, api_key: str | None) -> str | None:
    """Return the embedding model of a provider; None if it names none or does not answer."""
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    request = urllib.request.Request(str(url_of(base_url, MODELS)), headers=headers)  # noqa: S310 - checked
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
            names = _names(tolerant_json.loads(response.read()))
    except (OSError, ValueError) as exc:
        log.warning("models_unavailable", provider="provider", reason=str(exc) or type(exc).__name__)
        return None
    return choose(names)


def choose(names: Sequence[str]) -> str | None:
    """Return the embedding model among these names: OpenAI's, else the first with "embed" in it."""
    known = next((name for name in PREFERRED if name in names), None)
    return known or next((name for name in names if "embed" in name.lower()), None)


def _names(value: Any) -> list[str]:
    models = value.get("data") if isinstance(value, dict) else value
    if not isinstance(models, list):
        return []
    names = (model.get("id") if isinstance(model, dict) else model for model in models)
    return [name for name in names if isinstance(name, str)]
