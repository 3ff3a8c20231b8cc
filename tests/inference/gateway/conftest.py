import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from inference.gateway import CallerPolicy, Gateway, Routes
from tests.provider import ProviderProcess

KEY = "sk-the-operators-own-key"
JSON = dict[str, Any]


@pytest.fixture
async def gateway(provider: ProviderProcess) -> AsyncIterator[Gateway]:
    gateway = Gateway(Routes.from_environment(KEY, provider.url), CallerPolicy(accepts_credentials=True))
    await gateway.open()
    yield gateway
    await gateway.close()


@pytest.fixture
def ask(tag: str) -> Callable[..., JSON]:
    """A chat request that makes the provider do the turn that is given by keywords."""

    def request(model: str = "any-model", fields: JSON | None = None, **turn: Any) -> JSON:
        script = json.dumps({"tag": tag, "turns": [turn]})
        return {
            "model": model,
            "messages": [{"role": "user", "content": f"script: {script}"}],
            **(fields or {}),
        }

    return request
