"""MOVING.md's commands are commands of this server."""

import re
import shlex
from pathlib import Path

import click
import pytest

from serving.cli import main

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "MOVING.md").read_text(), re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if "astrolabe " in line]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_understood(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thread-ids.txt").write_text("thread_1\n")
    words = shlex.split(line)
    arguments = words[words.index("astrolabe") + 1 :]
    name, command, rest = main.resolve_command(click.Context(main), arguments)
    assert name is not None
    assert command is not None
    command.make_context(name, list(rest))


def test_there_are_commands_for_both_servers() -> None:
    assert {line.split("astrolabe ")[1].split()[0] for line in COMMANDS} == {"export", "import"}
