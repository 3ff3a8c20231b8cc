"""What a person sees: the pages, and the line in which start-up ends."""

import json

import httpx
import pytest

from tests.server import Server, until

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
    row = next(row for row in text.split("<tr>") if "<td>listPaginatedFineTuningJobs</td>" in row)
    assert 'class="missing"' in row


def test_the_edition_is_published_as_it_is_served(server: Server) -> None:
    answer = httpx.get(f"{server.root}/openapi.yaml", timeout=30)
    assert answer.headers["content-type"].startswith("application/yaml")
    assert "/threads/{thread_id}/runs/{run_id}/events" in json.loads(answer.text)["paths"]


def test_start_up_ends_in_one_line_that_says_what_is_served(server: Server) -> None:
    until(lambda: '"Serving ' in server.log.read_text(), seconds=10)
    lines = [json.loads(line)["event"] for line in server.log.read_text().splitlines() if '"Serving ' in line]
    assert len(lines) == 1
    for part in (
        f"http://127.0.0.1:{server.port}/v1",
        "edition 2026-08-21: ",
        "store ",
        "models",
        "auth open",
    ):
        assert part in lines[0]
