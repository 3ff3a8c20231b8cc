"""README matches the code."""

import re
from pathlib import Path

from serving.settings import Settings

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()


def test_every_variable_is_in_the_table_with_its_sentence() -> None:
    for _, variable, sentence in Settings.variables():
        row = next((line for line in README.splitlines() if line.startswith(f"| `{variable}` |")), "")
        assert row.endswith(f"| {sentence} |"), variable


def test_the_server_reads_every_variable_of_the_table() -> None:
    known = {variable for _, variable, _ in Settings.variables()}
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE)) == known


def test_every_link_leads_to_a_file() -> None:
    root = Path(__file__).resolve().parent.parent
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert [link for link in links if not link.startswith("http") and not (root / link).exists()] == []
