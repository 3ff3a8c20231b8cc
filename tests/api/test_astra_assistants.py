"""The client `astra-assistants` 2.5.5, unchanged, in its own environment, against a live server in astra mode."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.fixtures.required import unavailable
from tests.server import ROOT, Server

FOLDER = Path(__file__).parent / "astra"
PYTHON = ROOT / ".venvs/astra-assistants/bin/python"


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
