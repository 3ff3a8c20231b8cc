"""A client that disconnects frees what it held: the provider's call is closed."""

import json
import secrets
import socket

import httpx
import pytest

from tests.provider import ProviderProcess
from tests.server import Server, until

pytestmark = pytest.mark.server


def body(tag: str, turn: dict, **fields: object) -> dict:
    content = "script: " + json.dumps({"tag": tag, "turns": [turn]})
    return {"model": "m", "messages": [{"role": "user", "content": content}], **fields}


def provider_saw(provider: ProviderProcess, tag: str) -> list[dict]:
    return httpx.get(f"{provider.url.removesuffix('/v1')}/_requests", params={"tag": tag}).json()


def test_a_stream_left_by_its_client_closes_the_providers_call(
    server: Server, provider: ProviderProcess
) -> None:
    tag = secrets.token_hex(8)
    request = body(tag, {"text": "word " * 50, "delay": 0.2}, stream=True)
    with httpx.stream("POST", f"{server.url}/chat/completions", json=request, timeout=30) as answer:
        next(answer.iter_lines())
    until(lambda: provider_saw(provider, tag)[0]["ended"] == "disconnected", seconds=10)


def test_a_waiting_call_left_by_its_client_closes_the_providers_call(
    server: Server, provider: ProviderProcess
) -> None:
    tag = secrets.token_hex(8)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/chat/completions", json=body(tag, {"text": "late", "wait": 30}), timeout=1)
    until(lambda: provider_saw(provider, tag)[0]["ended"] == "disconnected", seconds=10)


def test_a_stream_left_before_its_first_event_closes_the_providers_call(
    server: Server, provider: ProviderProcess
) -> None:
    tag = secrets.token_hex(8)
    request = body(tag, {"text": "late", "wait": 30}, stream=True)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/chat/completions", json=request, timeout=1)
    until(lambda: provider_saw(provider, tag)[0]["ended"] == "disconnected", seconds=10)


def test_a_disconnect_is_logged_as_499_and_not_as_a_failure(
    server: Server, provider: ProviderProcess
) -> None:
    tag, before = secrets.token_hex(8), len(server.log.read_text())
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/chat/completions", json=body(tag, {"text": "late", "wait": 30}), timeout=1)
    until(lambda: '"status":499' in server.log.read_text()[before:], seconds=10)
    lines = [json.loads(line) for line in server.log.read_text()[before:].splitlines()]
    assert [line["operation"] for line in lines if line.get("status") == 499] == ["createChatCompletion"]
    assert not [line for line in lines if line.get("level") in ("warning", "error")]


def test_an_upload_that_is_broken_off_leaves_nothing_in_the_store(server: Server) -> None:
    contents = server.folder / "astrolabe.db-contents"
    before, log = len([*contents.glob("*/*")]), len(server.log.read_text())
    head = (
        b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n' + b"x" * 900_000
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head + b"%x\r\n%s\r\n" % (len(form), form))
        until(lambda: len([*contents.glob("*/*")]) == before + 1, seconds=10)
    until(lambda: len([*contents.glob("*/*")]) == before, seconds=10)
    until(lambda: '"status":499' in server.log.read_text()[log:], seconds=10)
