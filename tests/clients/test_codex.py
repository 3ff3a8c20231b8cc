"""Codex, unmodified, does a task with a model that knows chat completions only."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from persistence.types import JSON
from tests.provider import ProviderProcess
from tests.server import ROOT, Server

CODEX = ROOT / "build" / "clients" / "codex"

CONFIG = """
model = "{model}"
model_provider = "astrolabe"
[analytics]
enabled = false
[model_providers.astrolabe]
name = "Astrolabe"
base_url = "{url}"
wire_api = "responses"
supports_websockets = {websockets}
[model_providers.astrolabe.auth]
command = "echo"
args = ["any"]
"""
"""With `auth.command` Codex asks the server for its models."""

PATCH = "*** Begin Patch\n*** Add File: patched.txt\n+one\n*** End Patch\n"
SHELL: list[JSON] = [
    {"calls": [{"name": "exec_command", "arguments": {"cmd": "echo hello > hello.txt; cat hello.txt"}}]},
    {"calls": [{"name": "apply_patch", "arguments": {"input": PATCH}}]},
    {"calls": [{"name": "exec_command", "arguments": {"cmd": "cat hello.txt patched.txt | tr a-z A-Z"}}]},
    {"text": "The files say {find:HELLO} and {find:ONE}."},
]

JAVASCRIPT: list[JSON] = [
    {"calls": [{"name": "functions__exec", "arguments": {"input": source}}]}
    for source in (
        'text((await tools.exec_command({cmd: "echo hello > hello.txt; echo one > patched.txt"})).output);',
        'text((await tools.exec_command({cmd: "cat hello.txt patched.txt | tr a-z A-Z"})).output);',
    )
]
"""Codex gives the models of its own catalog one tool, which runs JavaScript."""

pytestmark = [pytest.mark.clients, pytest.mark.server]


@pytest.mark.parametrize("websockets", [False, True], ids=["http", "websocket"])
@pytest.mark.parametrize(
    ("model", "turns"),
    [("fake-model", SHELL), ("gpt-6-sol", [*JAVASCRIPT, SHELL[-1]])],
    ids=["shell", "javascript"],
)
def test_codex_does_a_task(
    model: str,
    turns: list[JSON],
    websockets: bool,
    server: Server,
    provider: ProviderProcess,
    tag: str,
    tmp_path: Path,
) -> None:
    # Codex warns about a home in the folder of temporary files.
    home = CODEX / "homes" / tag
    home.mkdir(parents=True, exist_ok=True)
    config = CONFIG.format(model=model, url=server.url, websockets=str(websockets).lower())
    (home / "config.toml").write_text(config)
    task = "script: " + json.dumps({"tag": tag, "turns": turns})
    options = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--cd", tmp_path]
    done = subprocess.run(
        [CODEX / "node_modules" / ".bin" / "codex", "exec", *options, task],
        env={**os.environ, "CODEX_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "The files say HELLO and ONE.\n"
    assert [line for line in done.stderr.splitlines() if "warning" in line.lower() or "ERROR" in line] == []
    assert (tmp_path / "hello.txt").read_text() == "hello\n"
    assert (tmp_path / "patched.txt").read_text() == "one\n"
    assert len(provider.received(tag)) == len(turns)
