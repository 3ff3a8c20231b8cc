"""Fixtures of the client's tests, which `tests/api/test_client.py` runs against a live server.

The server's models are the loopback provider's, which does what the script in a message says.
"""

import json
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from astrolabe_client import Astrolabe, AsyncAstrolabe

os.environ["ASTROLABE_BASE_URL"] = os.environ["ASTROLABE_TEST_URL"]
os.environ["ASTRA_DB_APPLICATION_TOKEN"] = "AstraCS:of:the-application"


@pytest.fixture(scope="session")
def client() -> Iterator[Astrolabe]:
    with Astrolabe(max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client() -> AsyncIterator[AsyncAstrolabe]:
    async with AsyncAstrolabe(max_retries=0) as client:
        yield client


def script(*turns: dict) -> str:
    """A message that has the loopback provider say and call what the turns hold."""
    return "script: " + json.dumps({"turns": turns})


def calls(name: str, *arguments: dict | str) -> dict:
    """A turn in which the model calls a function, once with each arguments."""
    return {"calls": [{"name": name, "arguments": one} for one in arguments]}
