"""OpenAI's Python SDK, each version in its own environment, against a live server."""

import sys
from pathlib import Path

import pytest

from tests.api.environments import run_tests
from tests.server import ROOT, Server

TESTS = Path(__file__).parent
ENVIRONMENTS = {
    "1.20": ROOT / ".venvs/sdk-1.20/bin/python",
    "1.76": ROOT / ".venvs/sdk-1/bin/python",
    "2": Path(sys.executable),
    "3": ROOT / ".venvs/sdk-3/bin/python",
}


@pytest.mark.server
@pytest.mark.timeout(300)
@pytest.mark.parametrize("sdk", ENVIRONMENTS)
def test_the_sdk_finds_openais_api(sdk: str, server: Server) -> None:
    python = ENVIRONMENTS[sdk]
    assert python.exists(), f"{python} is missing: make test makes it"
    folder = TESTS / ("sdk_v1" if sdk == "1.20" else "sdk")
    run_tests(python, folder, server.url, ROOT)
