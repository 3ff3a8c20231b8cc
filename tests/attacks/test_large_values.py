"""Requests whose values are large: pictures, names of models, filters."""

import json
import time

import httpx
import pytest

from persistence.types import JSON
from tests.attacks.reads import reads_meanwhile
from tests.provider import ProviderProcess
from tests.server import Server
from tests.serving.websocket.client import answer, opened

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
    assert max(took) < 3
    assert max(reads) < 0.5


NAME = "m" * 257
WITH_A_MODEL = {
    "/chat/completions": {"messages": [{"role": "user", "content": "x"}]},
    "/completions": {"prompt": "x"},
    "/embeddings": {"input": "x"},
    "/moderations": {"input": "x"},
    "/assistants": {},
    "/threads/runs": {"assistant_id": "asst_none"},
    "/threads/thread_none/runs": {"assistant_id": "asst_none"},
}


@pytest.mark.parametrize("path", WITH_A_MODEL)
def test_the_name_of_a_model_is_bounded(http: httpx.Client, path: str) -> None:
    answer = http.post(path, json={"model": NAME, **WITH_A_MODEL[path]})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "model", "string_above_max_length")


@pytest.mark.parametrize("path", [f"/models/{NAME}", f"/chat/completions?model={NAME}"])
def test_the_name_of_a_model_in_a_url_is_bounded(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")


def test_filters_by_metadata_are_bounded(http: httpx.Client) -> None:
    params = {f"metadata[key{n}]": "x" for n in range(17)}
    answer = http.get("/chat/completions", params=params)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "object_above_max_properties")


TEXT = "x" * 10_485_761
TEXTS: dict[str, tuple[JSON, str]] = {
    "/chat/completions": ({"messages": [{"role": "user", "content": TEXT}]}, "messages[0].content"),
    "/completions": ({"prompt": TEXT}, "prompt"),
    "/embeddings": ({"input": ["x", TEXT]}, "input[1]"),
    "/moderations": ({"input": TEXT}, "input"),
    "/responses": ({"input": TEXT}, "input"),
}


@pytest.mark.parametrize("path", TEXTS)
def test_a_text_for_a_model_is_bounded(http: httpx.Client, path: str) -> None:
    body, param = TEXTS[path]
    answer = http.post(path, json={"model": "m", **body})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "string_above_max_length")
    assert error["param"] == param


FUNCTION = {"name": "f", "parameters": {"type": "object"}}
UNBOUNDED = {
    "numbers": b"0," * 15_000_000 + b"0",
    "lists": b"[]," * 10_000_000 + b"0",
    "objects": b'{"a":"b"},' * 3_000_000 + b"0",
}


@pytest.mark.parametrize("kind", UNBOUNDED)
def test_a_body_of_countless_values_is_refused_and_stops_nobody(
    server: Server, http: httpx.Client, kind: str
) -> None:
    values = b'{"properties": [' + UNBOUNDED[kind] + b"]}"
    tool = b'{"type": "function", "function": {"name": "f", "parameters": ' + values + b"}}"
    with reads_meanwhile(server) as reads:
        answer = http.post("/assistants", content=b'{"model": "m", "tools": [' + tool + b"]}")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "array_above_max_length")
    assert max(reads) < 0.5


@pytest.mark.parametrize("kind", UNBOUNDED)
def test_a_message_of_countless_values_on_a_websocket_stops_nobody(server: Server, kind: str) -> None:
    message = b'{"type": "response.create", "model": "m", "input": [' + UNBOUNDED[kind] + b"]}"
    with opened(server, max_size=None) as client, reads_meanwhile(server) as reads:
        event = answer(client, message.decode())
    assert event["error"]["code"] == "array_above_max_length"
    assert max(reads) < 0.5


def test_the_tools_of_assistants_and_runs_are_bounded(http: httpx.Client) -> None:
    large = [{"type": "function", "function": {**FUNCTION, "description": "x" * 1_050_000}}]
    assistant = http.post("/assistants", json={"model": "m"}).json()["id"]
    thread = http.post("/threads", json={}).json()["id"]
    for path, body in {
        "/assistants": {"model": "m"},
        f"/assistants/{assistant}": {},
        "/threads/runs": {"assistant_id": assistant},
        f"/threads/{thread}/runs": {"assistant_id": assistant},
    }.items():
        answer = http.post(path, json={**body, "tools": large})
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["code"]) == (400, "tools", "object_too_large")


def test_a_message_too_large_to_be_stored_is_refused(http: httpx.Client) -> None:
    thread = http.post("/threads", json={}).json()["id"]
    content = [{"type": "text", "text": "x" * 250_000}] * 60
    answer = http.post(f"/threads/{thread}/messages", json={"role": "user", "content": content})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "object_too_large")
    assert http.get(f"/threads/{thread}/messages").json()["data"] == []


def test_a_completion_too_large_to_be_stored_is_refused_before_its_model_is_asked(
    http: httpx.Client, provider: ProviderProcess, tag: str
) -> None:
    script = json.dumps({"tag": tag, "turns": [{"text": "Hi."}]})
    messages = [{"role": "user", "content": each} for each in ("x" * 7_000_000, f"script: {script}")]
    answer = http.post("/chat/completions", json={"model": "m", "store": True, "messages": messages})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "object_too_large")
    assert provider.received(tag) == []
