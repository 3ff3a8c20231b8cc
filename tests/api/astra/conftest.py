"""Fixtures of the tests that run with `astra-assistants` 2.5.5 in an environment of its own.

`../test_astra_assistants.py` runs this folder against one server in astra mode.
"""

import json
import os

import pytest
from astra_assistants import patch
from openai import AsyncOpenAI, OpenAI

os.environ["OPENAI_API_KEY"] = "sk-of-the-application"
os.environ["ASTRA_DB_APPLICATION_TOKEN"] = "AstraCS:of:the-application"
os.environ["ASTRA_ASSISTANTS_QUIET"] = "true"
os.environ["COHERE_API_KEY"] = "co-of-the-application"
os.environ["BASE_URL"] = os.environ["ASTROLABE_TEST_URL"]

MODEL = "gpt-4o-mini"


@pytest.fixture(scope="session")
def client() -> OpenAI:
    return patch(OpenAI(max_retries=0, timeout=60))


@pytest.fixture
def async_client() -> AsyncOpenAI:
    return patch(AsyncOpenAI(max_retries=0, timeout=60))  # no retry hides a broken connection


def script(*turns: dict, tag: str | None = None) -> str:
    """A message that has the loopback provider say and call what the turns hold."""
    return "script: " + json.dumps({"turns": turns, **({"tag": tag} if tag else {})})
