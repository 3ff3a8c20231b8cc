"""The client `astra-assistants` 2.5.5, unchanged, in its own environment, against a live server in astra mode."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.clients import OPERATORS_KEY
from tests.fixtures.required import unavailable
from tests.provider import ProviderProcess
from tests.server import ROOT, Server

FOLDER = Path(__file__).parent / "astra"
PYTHON = ROOT / ".venvs/astra-assistants/bin/python"


@pytest.fixture(scope="module")
def astra_server(tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess) -> Iterator[Server]:
    """A server of two workers in astra mode whose models are the provider's."""
    folder = tmp_path_factory.mktemp("astra")
    environment = {
        "OPENAI_API_KEY": OPERATORS_KEY,
        "OPENAI_BASE_URL": provider.url,
        "ASTROLABE_AUTH": "astra",
    }
    with Server(folder, **environment) as server:
        yield server


@pytest.mark.server
@pytest.mark.timeout(300)
def test_the_client_astra_assistants_finds_its_api(astra_server: Server, tmp_path: Path) -> None:
    if not PYTHON.exists():
        unavailable(f"{PYTHON} is missing: make test makes it")
    command = [
        PYTHON,
        "-m",
        "pytest",
        "--quiet",
        "-c",
        FOLDER / "pytest.ini",
        "-p",
        "no:cacheprovider",
        FOLDER,
    ]
    run = subprocess.run(
        list(map(str, command)),
        cwd=tmp_path,
        env={**os.environ, "ASTROLABE_TEST_URL": astra_server.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
