"""README matches the code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from serving.settings import Settings
from tests.server import Server

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()


def test_every_variable_is_in_the_table_with_its_sentence() -> None:
    for _, variable, sentence in Settings.variables():
        row = next((line for line in README.splitlines() if line.startswith(f"| `{variable}` |")), "")
        assert row.endswith(f"| {sentence} |"), variable


def test_the_server_reads_every_variable_of_the_table() -> None:
    known = {variable for _, variable, _ in Settings.variables()}
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE)) == known


@pytest.mark.server
def test_the_first_program_prints_an_answer(server: Server) -> None:
    program = README.split("```python\n")[1].split("```")[0].replace("http://127.0.0.1:8080/v1", server.url)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("You said: Why is the sky blue?\nstored in thread_")


def test_every_link_leads_to_a_file() -> None:
    root = Path(__file__).resolve().parent.parent
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert [link for link in links if not link.startswith("http") and not (root / link).exists()] == []
