"""Schemathesis against a live server of two workers, with the edition that the server was built from."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from astrolabe_server.spec import edition
from astrolabe_server.tests.fuzz.document import served_document
from astrolabe_server.tests.provider import ProviderProcess
from astrolabe_server.tests.server import ROOT, Server

EXCLUDED = {
    # The editions describe successes only: any error of OpenAI's would fail it.
    "status_code_conformance",
    # OpenAI refuses more than its schemas say, and so does this server: unknown fields, cursors that
    # are in no list, fields that exclude each other, rules that stand in prose only.
    "positive_data_acceptance",
}
PHASES = os.environ.get("ASTROLABE_FUZZ_PHASES", "examples,coverage,fuzzing")
EXAMPLES = os.environ.get("ASTROLABE_FUZZ_EXAMPLES", "5")


@pytest.mark.server
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["2026-08-21"])
def test_no_request_that_the_spec_can_think_of_breaks_the_server(
    name: str, tmp_path: Path, provider: ProviderProcess
) -> None:
    assert name in edition.shipped()
    document = tmp_path / "served.json"
    document.write_text(json.dumps(served_document(name)))
    environment = {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": provider.url, "ASTROLABE_AUTH": "keys"}
    with Server(tmp_path, ASTROLABE_SPEC=name, **environment) as server:
        made = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "astrolabe_server.serving.cli", "keys", "create", "--project", "fuzz"],
            env=server.environment, cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        run = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"), "run", document, "--url", server.url,
                "--header", f"Authorization: Bearer {made.stdout.strip()}",
                "--phases", PHASES, "--max-examples", EXAMPLES, "--checks", "all",
                "--exclude-checks", ",".join(sorted(EXCLUDED)),
                "--generation-deterministic", "--workers", "2", "--no-color",
            ],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        (ROOT / "build" / "fuzz.log").write_text(run.stdout)
        assert run.returncode == 0, run.stdout[-20_000:] + server.tail(5)
