"""Lists of objects that are large."""

import httpx
import pytest

from tests.server import Server

pytestmark = pytest.mark.server


def test_a_message_larger_than_a_page_is_listed_alone(server: Server, http: httpx.Client) -> None:
    thread = http.post("/threads", json={}).json()["id"]
    content = [{"type": "text", "text": "x" * 250_000}] * 40
    ids = [
        http.post(f"/threads/{thread}/messages", json={"role": "user", "content": content}).json()["id"]
        for _ in range(3)
    ]
    listed: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = http.get(f"/threads/{thread}/messages", params={"order": "asc", **after}).json()
        listed += [message["id"] for message in page["data"]]
        assert len(page["data"]) == 1
        if not page["has_more"]:
            break
        after = {"after": page["last_id"]}
    assert listed == ids
