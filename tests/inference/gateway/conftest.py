import json
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from inference.gateway import CallerPolicy, Gateway, Routes
from persistence.types import JSON
from tests.provider import ProviderProcess

KEY = "sk-the-operators-own-key"


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


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The key and the self-signed certificate of localhost."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
               "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return key, cert
