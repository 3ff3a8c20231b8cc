"""Requests whose values are large: pictures, names of models, filters."""

import statistics
import time

import httpx
import pytest

from tests.attacks.reads import reads_meanwhile
from tests.server import Server

pytestmark = pytest.mark.server

PICTURE = "data:image/png;base64," + "iVBORw0K" * 1_250_000


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
