"""What one caller's files and searches may cost: bounded, refused early, and fair to other projects."""

import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.inference.parsing import documents
from tests.provider import ProviderProcess
from tests.server import Server, until

pytestmark = pytest.mark.server

MEGABYTE = 1024 * 1024


def test_a_search_for_30000_queries_is_refused(server: Server) -> None:
    store = httpx.post(f"{server.url}/vector_stores", json={}).json()["id"]
    body = {"query": ["storms"] * 30_000}
    answer = httpx.post(f"{server.url}/vector_stores/{store}/search", json=body, timeout=10)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "array_above_max_length"


def test_a_part_of_over_64_megabytes_is_refused_and_not_stored(server: Server) -> None:
    fields = {"filename": "a.bin", "purpose": "assistants", "bytes": 100, "mime_type": "text/plain"}
    upload = httpx.post(f"{server.url}/uploads", json=fields).json()["id"]
    contents = server.folder / "astrolabe.db-contents"
    before = len([*contents.glob("*/*")])

    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="data"; filename="a"\r\n\r\n'
        for _ in range(80):
            yield bytes(MEGABYTE)
        yield b"\r\n--b--\r\n"

    form = {"content-type": "multipart/form-data; boundary=b"}
    answer = httpx.post(f"{server.url}/uploads/{upload}/parts", content=body(), headers=form, timeout=60)
    assert (answer.status_code, answer.json()["error"]["param"]) == (413, "data")
    assert len([*contents.glob("*/*")]) == before


@pytest.fixture
def projects(tmp_path: Path, provider: ProviderProcess) -> Iterator[list[httpx.Client]]:
    """Clients of two projects of one server with two workers."""
    models = {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": provider.url}
    with Server(tmp_path, ASTROLABE_AUTH="keys", **models) as server:
        clients = []
        for name in ("ours", "theirs"):
            create = [sys.executable, "-m", "serving.cli", "keys", "create", "--project", name]
            key = subprocess.check_output(create, env=server.environment, cwd=tmp_path, text=True).strip()
            clients.append(httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {key}"}))
        yield clients
        for client in clients:
            client.close()


def upload(client: httpx.Client, name: str, data: bytes) -> str:
    fields = {"purpose": "assistants"}
    return str(client.post("/files", files={"file": (name, data)}, data=fields).json()["id"])


def ingest(client: httpx.Client, *files: str) -> str:
    return str(client.post("/vector_stores", json={"file_ids": files}).json()["id"])


def seconds_of_ingestion(client: httpx.Client, store: str) -> float:
    began = time.monotonic()
    while client.get(f"/vector_stores/{store}").json()["status"] == "in_progress":
        assert time.monotonic() - began < 120
        time.sleep(0.02)
    return time.monotonic() - began


def test_cells_that_span_100000_columns_cost_nothing(projects: list[httpx.Client]) -> None:
    ours, _ = projects
    wide = documents.word_with_wide_spans(rows=1_000, span=100_000)
    store = ingest(ours, *(upload(ours, f"{n}.docx", wide) for n in range(8)))
    seconds = seconds_of_ingestion(ours, store)
    assert ours.get(f"/vector_stores/{store}").json()["file_counts"]["completed"] == 8
    assert seconds < 30  # 2 s for one file on an idle machine; unbounded before


def test_files_of_one_project_do_not_keep_those_of_another_waiting(projects: list[httpx.Client]) -> None:
    ours, theirs = projects
    long = b"".join(b"Sentence %d of a long book.\n" % n for n in range(60_000))
    many = ingest(ours, *(upload(ours, f"{n}.txt", long) for n in range(40)))
    small = ingest(theirs, upload(theirs, "a.txt", b"hello"))
    assert seconds_of_ingestion(theirs, small) < 10
    counts = ours.get(f"/vector_stores/{many}").json()["file_counts"]
    assert counts["in_progress"] > 20


def test_contents_of_uploads_that_a_kill_broke_off_are_deleted_while_the_server_runs(tmp_path: Path) -> None:
    form = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello\r\n'
        b"--b\r\nContent-Disposition: form-data; "
    )
    head = (
        b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    with Server(tmp_path, OPENAI_API_KEY="sk-x") as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(head + form)
            until(lambda: count(tmp_path, "contents") == 1, seconds=20)
            server.kill()
        server.start()
        assert count(tmp_path, "contents") == 1
        execute(tmp_path, "UPDATE jobs SET due=0 WHERE id LIKE 'contents:%'")  # six hours later
        until(lambda: count(tmp_path, "contents") == 0, seconds=20)
        until(lambda: not [*tmp_path.glob("astrolabe.db-contents/*/*")], seconds=20)  # behind the rows


def count(folder: Path, table: str) -> int:
    with sqlite3.connect(folder / "astrolabe.db") as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def execute(folder: Path, sql: str) -> None:
    with sqlite3.connect(folder / "astrolabe.db", timeout=10) as connection:
        connection.execute(sql)
