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
model_auto_compact_token_limit = {limit}
[analytics]
enabled = false
[model_providers.astrolabe]
name = "{name}"
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

COMPACTED = "script: " + json.dumps({"turns": [{"text": "It goes on."}]})
COMPACTION: list[JSON] = [
    {**SHELL[0], "usage": {"prompt_tokens": 100_000, "completion_tokens": 1, "total_tokens": 100_001}},
    {"text": COMPACTED},
]
"""Over its limit Codex asks for a summary, which scripts what follows."""

RESUMED: list[JSON] = [SHELL[0], {"text": "Done."}, {"text": "Done again."}]

WEBSOCKETS = pytest.mark.parametrize("websockets", [False, True], ids=["http", "websocket"])

pytestmark = [pytest.mark.clients, pytest.mark.server]

OF_PLACE = "could not create PATH aliases"
"""In Codex' warning about a home below the folder for temporary files, where a checkout may be."""


class Codex:
    """Codex with settings of its own, working in one folder."""

    def __init__(self, folder: Path, tag: str, server: Server, **settings: str | int) -> None:
        # Codex warns about a home in the folder of temporary files.
        self.home, self.folder = CODEX / "homes" / tag, folder
        self.home.mkdir(parents=True)
        values = {"model": "fake-model", "name": "Astrolabe", "limit": 1_000_000, **settings}
        (self.home / "config.toml").write_text(CONFIG.format(url=server.url, **values))

    def __call__(self, task: str, *command: str) -> str:
        """Return what `codex exec` answers to a task; fail if it warns of anything."""
        options = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
        done = subprocess.run(
            [CODEX / "node_modules" / ".bin" / "codex", "exec", *command, *options, task],
            env={**os.environ, "CODEX_HOME": str(self.home)},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert [
            line
            for line in done.stderr.splitlines()
            if ("warning" in line.lower() or "ERROR" in line) and OF_PLACE not in line
        ] == []
        return done.stdout.rstrip()


def scripted(tag: str, turns: list[JSON]) -> str:
    return "script: " + json.dumps({"tag": tag, "turns": turns})


@WEBSOCKETS
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
    codex = Codex(tmp_path, tag, server, model=model, websockets=str(websockets).lower())
    assert codex(scripted(tag, turns)) == "The files say HELLO and ONE."
    assert (tmp_path / "hello.txt").read_text() == "hello\n"
    assert (tmp_path / "patched.txt").read_text() == "one\n"
    assert len(provider.received(tag)) == len(turns)


@WEBSOCKETS
def test_the_server_compacts_a_conversation_of_codex(
    websockets: bool, server: Server, provider: ProviderProcess, tag: str, tmp_path: Path
) -> None:
    # Codex leaves the compaction to providers of this name only.
    settings = {"name": "OpenAI", "limit": 50_000, "websockets": str(websockets).lower()}
    codex = Codex(tmp_path, tag, server, **settings)
    assert codex(scripted(tag, COMPACTION)) == "It goes on."
    assert len(provider.received(tag)) == len(COMPACTION)


@WEBSOCKETS
def test_codex_resumes_a_session(websockets: bool, server: Server, tag: str, tmp_path: Path) -> None:
    codex = Codex(tmp_path, tag, server, websockets=str(websockets).lower())
    assert codex(scripted(tag, RESUMED)) == "Done."
    assert codex("Once more.", "resume", "--last") == "Done again."
