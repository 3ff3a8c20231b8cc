"""Schemathesis against a live server of two workers, with the edition that it serves."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from spec import edition
from tests.fuzz.document import served_document
from tests.fuzz.seeds import Seeds
from tests.provider import ProviderProcess
from tests.server import ROOT, Server

EXCLUDED = {
    # The editions describe successes only: any error of OpenAI's would fail it.
    "status_code_conformance",
    # OpenAI and this server refuse more than the schemas do: unknown fields, cursors that are in no
    # list, fields that exclude each other, rules that only the prose states.
    "positive_data_acceptance",
}
# One process each, because Hypothesis in several threads hits a bug of CPython's compiler
# (gh-106905: "AST constructor recursion depth mismatch").
RESOURCES = {
    "assistants": ("assistants", "threads"),
    "conversations": ("conversations",),
    "files": ("batches", "containers", "files", "uploads", "vector_stores"),
    "media": (
        "audio", "chat", "completions", "embeddings", "health", "images", "models", "moderations", "videos",
    ),
    "responses": ("responses",),
    "tuning": ("fine_tuning", "realtime"),
}  # fmt: skip
*OLDER, NEWEST = edition.shipped()
PHASES = os.environ.get("ASTROLABE_FUZZ_PHASES", "examples,coverage,fuzzing,stateful")
EXAMPLES = os.environ.get("ASTROLABE_FUZZ_EXAMPLES", "5")
SHOWN = 20_000


def test_every_served_operation_is_fuzzed() -> None:
    fuzzed = {name for names in RESOURCES.values() for name in names}
    served = {path.split("/")[1] for name in edition.shipped() for path in served_document(name)["paths"]}
    assert served == fuzzed


@pytest.mark.server
@pytest.mark.timeout(900)
@pytest.mark.parametrize("resources", RESOURCES)
def test_no_generated_request_breaks_the_server(
    resources: str, tmp_path: Path, provider: ProviderProcess
) -> None:
    fuzz(NEWEST, tmp_path, provider, "--phases", PHASES, names=RESOURCES[resources])


@pytest.mark.server
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", OLDER)
def test_no_generated_request_of_an_older_edition_breaks_the_server(
    name: str, tmp_path: Path, provider: ProviderProcess
) -> None:
    fuzz(name, tmp_path, provider, "--phases", "coverage", names=sum(RESOURCES.values(), ()))


def fuzz(name: str, folder: Path, provider: ProviderProcess, *options: str, names: tuple[str, ...]) -> None:
    """Run Schemathesis against a server of that edition; fail with the failing cases."""
    path, document = folder / "served.json", served_document(name)
    environment = {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": provider.url, "ASTROLABE_AUTH": "keys"}
    with Server(folder, ASTROLABE_SPEC=name, **environment) as server:
        secret = key(server)
        if name == NEWEST:
            Seeds(server.url, secret).pin(document)
        path.write_text(json.dumps(document))
        run = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"), "run", path, "--url", server.url,
                "--include-path-regex", f"^/({'|'.join(names)})(/|$)",
                "--header", f"Authorization: Bearer {secret}",
                "--max-examples", EXAMPLES, "--generation-deterministic", "--workers", "1",
                "--checks", "all", "--exclude-checks", ",".join(sorted(EXCLUDED)),
                "--request-timeout", "60", "--warnings", "off", "--no-color", *options,
            ],
            env={
                **os.environ,
                "HYPOTHESIS_STORAGE_DIRECTORY": str(ROOT / ".hypothesis"),  # its tables of Unicode
                "PYTHONPATH": str(ROOT),
                "SCHEMATHESIS_HOOKS": "tests.fuzz.sampling",
            },
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        (folder / "fuzz.log").write_text(run.stdout)
        assert run.returncode == 0, failures(run.stdout + run.stderr) + server.tail(5)


def key(server: Server) -> str:
    """Create a key on that server."""
    made = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "serving.cli", "keys", "create", "--project", "fuzz"],
        env=server.environment, cwd=server.folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return made.stdout.strip()


def failures(log: str) -> str:
    """Return the failing cases of a log, or the whole log if it names none."""
    found = re.search(r"^=+ (ERRORS|FAILURES) =+$", log, re.MULTILINE)
    return "\n".join(line[:500] for line in log[found.start() if found else 0 :].splitlines())[:SHOWN]
