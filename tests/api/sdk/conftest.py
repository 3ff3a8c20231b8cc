"""Fixtures of the tests that an application's own environment runs: the OpenAI SDK and nothing of ours.

`../test_sdks.py` runs this folder in three environments, each with another SDK, against one server.
"""

import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from openai import AsyncOpenAI, OpenAI

MODEL = "any-model"


@pytest.fixture(scope="session")
def url() -> str:
    return os.environ["ASTROLABE_TEST_URL"]


@pytest.fixture(scope="session")
def sandbox() -> None:
    """The server can run code; where it cannot, tests are skipped, and fail under CI."""
    python = Path(".venvs/sandbox/bin/python")
    if not os.environ.get("CI") and (shutil.which("bwrap") is None or not python.exists()):
        pytest.skip("needs bubblewrap and `make sandbox`")


@pytest.fixture(scope="session")
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=url, api_key="any", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
async def async_client(url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=url, api_key="any", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
def assistant(client: OpenAI):
    assistant = client.beta.assistants.create(model=MODEL, instructions="Be brief.")
    yield assistant
    client.beta.assistants.delete(assistant.id)


def script(*turns: dict, tag: str | None = None) -> str:
    """A message that has the loopback provider say and call what the turns hold."""
    return "script: " + json.dumps({"turns": turns, **({"tag": tag} if tag else {})})
