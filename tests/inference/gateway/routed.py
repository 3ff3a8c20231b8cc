"""Gateways of several deployments, whose provider answers each of them as a request's script says."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from inference.gateway import Gateway, Routes
from persistence.types import JSON
from tests.provider import ProviderProcess

Make = Callable[[str], Any]


@pytest.fixture
async def make(tmp_path: Path, provider: ProviderProcess) -> AsyncIterator[Make]:
    """Makes an open gateway of the models of a file; its providers are p, q and the unreachable gone."""
    gateways = []

    async def made(models: str, **options: Any) -> Gateway:
        path = tmp_path / "models.yaml"
        path.write_text(f"""
providers:
  p: {{base_url: "{provider.url}", retries: 0}}
  q: {{base_url: "{provider.url}", retries: 0}}
  gone: {{base_url: "http://127.0.0.1:1/v1", retries: 0}}
models:
{models}
""")
        gateway = Gateway(Routes.from_file(path, {}), **options)
        await gateway.open()
        gateways.append(gateway)
        return gateway

    yield made
    for gateway in gateways:
        await gateway.close()


def request(tag: str, model: str = "m", fields: JSON | None = None, **by_model: JSON) -> JSON:
    """A chat request to which each upstream model gives its own answer."""
    script = json.dumps({"tag": tag, "by_model": {name: [turn] for name, turn in by_model.items()}})
    return {
        "model": model,
        "messages": [{"role": "user", "content": f"script: {script}"}],
        **(fields or {}),
    }


def asked(provider: ProviderProcess, tag: str) -> list[str]:
    return [record["body"]["model"] for record in provider.received(tag)]


def text_of(answer: JSON) -> str:
    return str(answer["choices"][0]["message"]["content"])


def failing(status: int, message: str = "no", **fields: Any) -> JSON:
    return {"fail": {"status": status, "message": message, **fields}}


TWO = "  m: {deployments: [{provider: p, model: a}, {provider: q, model: b}]}"
FIRST = "  m: {deployments: [{provider: p, model: a}, {provider: q, model: b, weight: 0}]}"
"""Asks b only where a does not answer."""
