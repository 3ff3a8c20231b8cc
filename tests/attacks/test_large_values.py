"""Requests whose values are large: pictures, names of models, filters."""

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.server import Server

pytestmark = pytest.mark.server

PICTURE = "data:image/png;base64," + "iVBORw0K" * 1_250_000


@contextmanager
def reads_meanwhile(server: Server) -> Iterator[list[float]]:
    """The seconds that each of another client's GETs takes while the block runs."""
    seconds: list[float] = []
    stopped = threading.Event()

    def read() -> None:
        with httpx.Client(base_url=server.url, headers={"Authorization": "Bearer other"}) as client:
            while not stopped.is_set():
                began = time.monotonic()
                assert client.get("/assistants/asst_none").status_code == 404
                seconds.append(time.monotonic() - began)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield seconds
    finally:
        stopped.set()
        thread.join()


def test_a_picture_of_10_megabytes_in_a_message_stops_nobody(server: Server, http: httpx.Client) -> None:
    thread = http.post("/threads", json={}).json()["id"]
    content = [{"type": "image_url", "image_url": {"url": PICTURE}}]
    took = []
    with reads_meanwhile(server) as reads:
        for _ in range(5):
            body = {"role": "user", "content": content}
            began = time.monotonic()
            assert http.post(f"/threads/{thread}/messages", json=body).status_code == 200
            took.append(time.monotonic() - began)
    print("posts", took, "reads", len(reads), statistics.median(reads), max(reads))
