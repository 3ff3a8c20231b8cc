"""Version 1 of the Assistants API over HTTP, checked with its own edition."""

import json
import time
import urllib.request

import pytest

from persistence.types import JSON
from tests.server import Server

pytestmark = pytest.mark.server


class Caller:
    """An application of early 2024."""

    def __init__(self, server: Server, version: str = "v1") -> None:
        self._url = server.url
        self._version = version

    def send(self, method: str, path: str, body: JSON | None = None) -> bytes:
        request = urllib.request.Request(
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "authorization": "Bearer any",
                "content-type": "application/json",
                "openai-beta": f"assistants={self._version}",
            },
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def __call__(self, method: str, path: str, body: JSON | None = None) -> JSON:
        return json.loads(self.send(method, path, body))

    def file(self, text: str) -> str:
        lines = [
            "--b",
            'content-disposition: form-data; name="purpose"',
            "",
            "assistants",
            "--b",
            'content-disposition: form-data; name="file"; filename="a.txt"',
            "",
            text,
            "--b--",
            "",
        ]
        request = urllib.request.Request(
            f"{self._url}/files",
            data="\r\n".join(lines).encode(),
            headers={"authorization": "Bearer any", "content-type": "multipart/form-data; boundary=b"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["id"]


@pytest.fixture
def v1(server: Server) -> Caller:
    return Caller(server)


@pytest.fixture
def v2(server: Server) -> Caller:
    return Caller(server, "v2")


def test_an_assistant_has_its_files_and_the_retrieval_tool(v1: Caller, v2: Caller) -> None:
    file_id = v1.file("The sky is blue.")

    made = v1("POST", "/assistants", {"model": "m", "tools": [{"type": "retrieval"}], "file_ids": [file_id]})

    assert made["tools"] == [{"type": "retrieval"}]
    assert made["file_ids"] == [file_id]
    assert "tool_resources" not in made
    assert v1("GET", f"/assistants/{made['id']}") == made
    later = v2("GET", f"/assistants/{made['id']}")
    assert [tool["type"] for tool in later["tools"]] == ["file_search"]
    assert len(later["tool_resources"]["file_search"]["vector_store_ids"]) == 1
    assert made in v1("GET", "/assistants?limit=100")["data"]


def test_files_of_a_v1_message_are_attachments_in_v2(v1: Caller, v2: Caller) -> None:
    file_id = v1.file("The sky is blue.")
    thread = v1("POST", "/threads", {"messages": [{"role": "user", "content": "Hi", "file_ids": [file_id]}]})
    assert set(thread) == {"id", "object", "created_at", "metadata"}

    (message,) = v1("GET", f"/threads/{thread['id']}/messages")["data"]

    assert message["file_ids"] == [file_id]
    assert "attachments" not in message
    (later,) = v2("GET", f"/threads/{thread['id']}/messages")["data"]
    assert [each["file_id"] for each in later["attachments"]] == [file_id]


def test_a_v1_run_streams_v1_objects(v1: Caller) -> None:
    assistant = v1("POST", "/assistants", {"model": "m"})
    thread = v1("POST", "/threads", {"messages": [{"role": "user", "content": "Hello"}]})
    runs = f"/threads/{thread['id']}/runs"

    frames = v1.send("POST", runs, {"assistant_id": assistant["id"], "stream": True}).decode()

    created = json.loads(frames.split("\n")[2].removeprefix("data: "))
    assert created["file_ids"] == []
    assert "parallel_tool_calls" not in created
    assert frames.endswith("event: done\ndata: [DONE]\n\n")

    run = v1("POST", runs, {"assistant_id": assistant["id"]})
    deadline = time.monotonic() + 20
    while (run := v1("GET", f"{runs}/{run['id']}"))["status"] != "completed":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (step,) = v1("GET", f"{runs}/{run['id']}/steps")["data"]
    assert step["type"] == "message_creation"
