"""The client `astra-assistants` 2.5.5, unchanged, in its own environment, against a live server in astra mode."""

from pathlib import Path

import pytest

from tests.api.environments import run_tests
from tests.fixtures.required import unavailable
from tests.server import ROOT, Server

FOLDER = Path(__file__).parent / "astra"
PYTHON = ROOT / ".venvs/astra-assistants/bin/python"


@pytest.mark.server
@pytest.mark.timeout(300)
def test_the_client_astra_assistants_finds_its_api(astra_server: Server, tmp_path: Path) -> None:
    if not PYTHON.exists():
        unavailable(f"{PYTHON} is missing: make test makes it")
    run_tests(PYTHON, FOLDER, astra_server.url, tmp_path)
