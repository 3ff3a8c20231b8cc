"""What one caller's files and searches may cost: bounded, refused early, and fair to other projects."""

from collections.abc import Iterator

import httpx
import pytest

from tests.server import Server

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
