"""The form of log lines: JSON or readable, by setting, and by what standard error is."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from serving.logs import is_json
from tests.server import Server, base_environment, until

pytestmark = pytest.mark.server

LOG = "import sys; from serving.logs import *; configure('info', sys.argv[1]); structlog.get_logger('a.b').info('job_lost', id=7)"


def lines_of(log_format: str, *, terminal: bool) -> str:
    """Standard error of a process that logs one event."""
    command = [sys.executable, "-c", LOG, log_format]
    if not terminal:
        run = subprocess.run(command, env=base_environment(), capture_output=True, text=True, check=True)
        return run.stderr
    ours, theirs = pty.openpty()
    subprocess.run(command, env=base_environment(), stderr=theirs, check=True)
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    return said


@pytest.mark.parametrize(
    ("log_format", "terminal", "is_json"),
    [
        ("auto", False, True),
        ("auto", True, False),
        ("json", False, True),
        ("json", True, True),
        ("text", False, False),
        ("text", True, False),
    ],
)
def test_lines_are_readable_on_a_terminal_and_json_elsewhere(
    log_format: str, terminal: bool, is_json: bool
) -> None:
    said = lines_of(log_format, terminal=terminal)
    assert "job_lost" in said
    assert said.startswith("{") == is_json
    if is_json:
        line = json.loads(said)
        assert (line["event"], line["id"], line["level"], line["logger"]) == ("job_lost", 7, "info", "a.b")


@pytest.mark.parametrize(("log_format", "json_lines"), [("json", True), ("text", False)])
def test_every_line_of_a_server_has_the_form_that_was_set(
    tmp_path: Path, log_format: str, json_lines: bool
) -> None:
    with Server(tmp_path, workers=1, ASTROLABE_LOG_FORMAT=log_format, OPENAI_API_KEY="sk-x") as server:
        httpx.get(f"{server.url}/threads/thread_none")
        until(lambda: "getThread" in server.log.read_text(), seconds=5)
    lines = [line for line in server.log.read_text().splitlines() if line]
    assert {line.startswith("{") for line in lines} == {json_lines}


def test_the_form_of_a_setting_goes_before_the_terminal() -> None:
    assert is_json("json")
    assert not is_json("text")
