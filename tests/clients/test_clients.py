"""Each program runs in an environment of its own, made by `make test-clients`, against a live server."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.server import ROOT, Server

HERE = Path(__file__).parent
BUILD = ROOT / "build" / "clients"

pytestmark = [pytest.mark.clients, pytest.mark.server]


def run(server: Server, *command: str | Path) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "ASTROLABE_TEST_URL": server.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize("client", ["instructor", "langchain", "llama-index", "openai-agents", "pydantic-ai"])
def test_a_python_framework_works(client: str, server: Server) -> None:
    program = HERE / f"with_{client.replace('-', '_')}.py"
    run(server, ROOT / ".venvs" / f"client-{client}" / "bin" / "python", program)


@pytest.mark.parametrize("client", ["langchain-js", "openai-node", "openai-node-4", "vercel-ai"])
def test_a_javascript_client_works(client: str, server: Server) -> None:
    # Node looks for packages in the folder of the program.
    for shared in HERE.glob("*.mjs"):
        shutil.copy(shared, BUILD)
    program = shutil.copy(HERE / client / "check.mjs", BUILD / client)
    run(server, "node", program)


@pytest.mark.parametrize("api", ["openai-chat", "open-responses"])
def test_llm_comply_finds_no_fault(api: str, server: Server) -> None:
    # Its test of reasoning is skipped for models of other names.
    options = ["--base-url", server.url, "--api-key", "any", "--model", "gpt-5-eager"]
    run(server, ROOT / ".venvs" / "client-llm-comply" / "bin" / "llm-comply", "--format", api, *options)


def test_the_go_sdk_works(server: Server) -> None:
    run(server, BUILD / "openai-go")
