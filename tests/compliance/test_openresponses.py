"""OpenResponses' own compliance tests, fetched by `make test-compliance`, against a live server."""

import json
import subprocess

import pytest

from tests.server import ROOT, Server

BUILD = ROOT / "build" / "compliance"
TESTS = 17

pytestmark = [pytest.mark.compliance, pytest.mark.server]


def test_every_test_of_openresponses_passes(server: Server) -> None:
    (bun,) = BUILD.glob("node_modules/@oven/*/bin/bun")
    program = BUILD / "openresponses" / "bin" / "compliance-test.ts"
    # A model with this name calls the function that one of the tests offers.
    options = ["--base-url", server.url, "--api-key", "any", "--model", "eager"]
    done = subprocess.run(
        [str(bun), str(program), "--json", *options],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.stdout, done.stderr
    results = json.loads(done.stdout)["results"]
    failures = {result["id"]: result.get("errors") for result in results if result["status"] != "passed"}
    assert failures == {}
    assert len(results) == TESTS
