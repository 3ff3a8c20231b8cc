import json
from collections.abc import Iterator

import httpx
import pytest

from persistence.types import JSON
from tests.handlers.caller_settings.requests import TENANT, Ask
from tests.provider import ProviderProcess
from tests.server import Server

MACHINES_ACCOUNTS = {
    "ANTHROPIC_API_KEY": "the-machines",
    "AWS_BEARER_TOKEN_BEDROCK": "the-machines",
    "AWS_PROFILE_NAME": "the-machines",
    "AWS_ROLE_NAME": "arn:aws:iam::123456789012:role/the-machines",
    "AWS_SESSION_NAME": "the-machines",
    "AWS_SESSION_TOKEN": "the-machines",
    "WATSONX_TOKEN": "the-machines",
    "WATSONX_ZENAPIKEY": "the-machines",
}
"""Variables that litellm reads; no request of a caller may have anything of them."""


@pytest.fixture(scope="package")
def astra(tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("callers")
    hosts = f"127.0.0.1:{provider.port}"
    # Without a comment on a silent stream, its refusal has a status however busy the machine is.
    environment = {"ASTROLABE_PROVIDER_HOSTS": hosts, "ASTROLABE_KEEP_ALIVE": "60", **MACHINES_ACCOUNTS}
    with Server(folder, ASTROLABE_AUTH="astra", **environment) as server:
        yield server


@pytest.fixture
def http(astra: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=astra.url, headers=TENANT, timeout=60) as client:
        yield client


@pytest.fixture
def ask(tag: str) -> Ask:
    """A chat request that makes the provider record it."""

    def request(model: str = "openai/gpt-4o", **fields: object) -> JSON:
        script = json.dumps({"tag": tag, "turns": [{"text": "Hello."}]})
        return {"model": model, "messages": [{"role": "user", "content": f"script: {script}"}], **fields}

    return request
