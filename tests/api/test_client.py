"""Our own client (`client/`), with two major versions of OpenAI's SDK, against a live server in astra mode."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.api.environments import run_tests
from tests.fixtures.required import unavailable
from tests.server import ROOT, Server

CLIENT = ROOT / "client"
ENVIRONMENTS = {"2": Path(sys.executable), "3": ROOT / ".venvs/sdk-3/bin/python"}


@pytest.mark.server
@pytest.mark.timeout(300)
@pytest.mark.parametrize("sdk", ENVIRONMENTS)
def test_our_client_finds_its_server(sdk: str, astra_server: Server, tmp_path: Path) -> None:
    python = ENVIRONMENTS[sdk]
    if not python.exists():
        unavailable(f"{python} is missing: make test makes it")
    run_tests(python, CLIENT / "tests", astra_server.url, tmp_path)


def test_the_wheel_of_our_client_is_one_typed_package(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=CLIENT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("astrolabe_client-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = next(archive.read(name) for name in archive.namelist() if name.endswith("METADATA"))
    assert names == {"astrolabe_client/__init__.py", "astrolabe_client/py.typed"}
    assert b"Requires-Dist: openai>=2" in metadata
