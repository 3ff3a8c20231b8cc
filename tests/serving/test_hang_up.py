"""A client that hangs up frees what it held: the provider's call is closed."""

import json
import secrets

import httpx
import pytest

from astrolabe_server.tests.provider import ProviderProcess
from astrolabe_server.tests.server import Server, until

pytestmark = pytest.mark.server


def body(tag: str, turn: dict, **fields: object) -> dict:
    content = "script: " + json.dumps({"tag": tag, "turns": [turn]})
    return {"model": "m", "messages": [{"role": "user", "content": content}], **fields}


def provider_saw(provider: ProviderProcess, tag: str) -> list[dict]:
    return httpx.get(f"{provider.url.removesuffix('/v1')}/_requests", params={"tag": tag}).json()


def test_a_stream_left_by_its_client_closes_the_providers_call(
    server: Server, provider: ProviderProcess
) -> None:
    tag = secrets.token_hex(8)
    request = body(tag, {"text": "word " * 50, "delay": 0.2}, stream=True)
    with httpx.stream("POST", f"{server.url}/chat/completions", json=request, timeout=30) as answer:
        next(answer.iter_lines())
    until(lambda: provider_saw(provider, tag)[0]["ended"] == "disconnected", seconds=10)


def test_a_waiting_call_left_by_its_client_closes_the_providers_call(
    server: Server, provider: ProviderProcess
) -> None:
    tag = secrets.token_hex(8)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/chat/completions", json=body(tag, {"text": "late", "wait": 30}), timeout=1)
    until(lambda: provider_saw(provider, tag)[0]["ended"] == "disconnected", seconds=10)
