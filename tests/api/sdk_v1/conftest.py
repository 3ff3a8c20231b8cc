"""Fixtures of the tests of an application of early 2024, with the last SDK of version 1.

`../test_sdks.py` runs this folder in an environment of its own, against one server.
"""

import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
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


class V2:
    """A client of version 2, without an SDK: this environment's knows only version 1."""

    def __init__(self, url: str) -> None:
        headers = {"authorization": "Bearer any", "openai-beta": "assistants=v2"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=60)

    def get(self, path: str) -> dict:
        return self._http.get(path).raise_for_status().json()

    def post(self, path: str, **body: object) -> dict:
        return self._http.post(path, json=body).raise_for_status().json()

    def refused(self, path: str, **body: object) -> dict:
        answer = self._http.post(path, json=body)
        assert answer.status_code == 400
        return answer.json()["error"]


@pytest.fixture(scope="session")
def v2(url: str) -> V2:
    return V2(url)


@pytest.fixture
def upload(client: OpenAI):
    def upload(name: str, text: str) -> str:
        return client.files.create(file=(name, text.encode()), purpose="assistants").id

    return upload


def script(*turns: dict) -> str:
    """A message that has the loopback provider say and call what the turns hold."""
    return "script: " + json.dumps({"turns": turns})
