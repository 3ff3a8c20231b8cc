"""Runs a folder of tests against a live server, with the packages of another environment."""

import os
import subprocess
from pathlib import Path


def run_tests(python: Path, folder: Path, url: str, working_folder: Path) -> None:
    """Run the tests of a folder, which has a pytest.ini of its own, with that Python; all must pass."""
    command = [
        python,
        "-m",
        "pytest",
        "--quiet",
        "-c",
        folder / "pytest.ini",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:schemathesis",
        folder,
    ]
    run = subprocess.run(
        list(map(str, command)),
        cwd=working_folder,
        env={**os.environ, "ASTROLABE_TEST_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
