"""What a person sees: the pages, and the lines of a start."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.server import Server, until
from tests.test_readme import README

pytestmark = pytest.mark.server


def test_the_root_answers_a_person_and_a_program(server: Server) -> None:
    page = httpx.get(server.root, headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html")
    assert f"{server.root}/v1" in page.text
    facts = httpx.get(server.root).json()
    assert (facts["api"], facts["docs"], facts["edition"]) == ("/v1", "/docs", "2026-08-21")


def test_the_docs_mark_what_is_served(server: Server) -> None:
    text = httpx.get(f"{server.root}/docs").text
    row = next(row for row in text.split("<tr>") if "<td>createThread</td>" in row)
    assert 'class="served"' in row
    row = next(row for row in text.split("<tr>") if "<td>listEvals</td>" in row)
    assert 'class="missing"' in row


def test_the_edition_is_published_as_it_is_served(server: Server) -> None:
    answer = httpx.get(f"{server.root}/openapi.yaml", timeout=30)
    assert answer.headers["content-type"].startswith("application/yaml")
    document = json.loads(answer.text)
    assert "/threads/{thread_id}/runs/{run_id}/events" in document["paths"]
    assert document["servers"] == [{"url": "/v1"}]


def test_a_start_is_one_event_that_says_what_is_served(tmp_path: Path) -> None:
    with Server(tmp_path, OPENAI_API_KEY="sk-x") as server:
        until(lambda: "server_started" in server.log.read_text(), seconds=10)
    (line,) = map(json.loads, server.log.read_text().splitlines())
    assert (line["event"], line["level"], line["logger"]) == ("server_started", "info", "astrolabe.app")
    assert line["url"] == server.url
    assert line["edition"].startswith("2026-08-21: ")
    assert line["store"] == f"sqlite:///{tmp_path}/astrolabe.db"
    assert line["auth"] == "open: any key is accepted"


def test_readable_lines_of_a_start_begin_with_the_address(tmp_path: Path) -> None:
    with Server(tmp_path, ASTROLABE_LOG_FORMAT="text", OPENAI_API_KEY="sk-x") as server:
        until(lambda: "Serving " in server.log.read_text(), seconds=10)
    first, *others = server.log.read_text().splitlines()
    assert first[8:] == f" info    Serving {server.url} (Ctrl-C stops)"
    others = [line for line in others if line.startswith(" ")]  # another event may follow
    assert [line.split()[0] for line in others] == [
        "edition",
        "store",
        "models",
        "embedding",
        "code",
        "auth",
    ]
    assert max(map(len, others)) < 100 + len(str(tmp_path))


def test_pages_are_logged_by_name(tmp_path: Path) -> None:
    with Server(tmp_path, workers=1, OPENAI_API_KEY="sk-x") as server:
        for path in ("", "docs", "openapi.yaml", "metrics", "none"):
            httpx.get(f"{server.root}/{path}", timeout=30)
        until(lambda: "unmatched" in server.log.read_text(), seconds=5)
    lines = map(json.loads, server.log.read_text().splitlines())
    found = [line["operation"] for line in lines if line["event"] == "request_finished"]
    assert found == ["index", "docs", "openapi", "prometheus_metrics", "unmatched"]


def test_the_first_program_prints_an_answer(server: Server) -> None:
    program = README.split("```python\n")[1].split("```")[0].replace("http://127.0.0.1:8080/v1", server.url)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("You said: Why is the sky blue?\nstored in thread_")
