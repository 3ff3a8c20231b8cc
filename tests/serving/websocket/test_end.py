"""The end of a WebSocket: clients that disconnect, servers that stop, and what is logged."""

import json
import os
import secrets
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import ClientConnection

from tests.provider import ProviderProcess
from tests.server import Server, until
from tests.serving.websocket.client import answer, closed, create, ended, opened, scripted_server

pytestmark = pytest.mark.server


def test_a_client_that_disconnects_ends_its_responses(server: Server) -> None:
    tags = [secrets.token_hex(8) for _ in range(3)]
    with opened(server) as client:
        for lane, tag in zip("aab", tags, strict=True):
            client.send(create(stream_id=lane, tag=tag, deltas=1000, wait=0.05))
        for _ in range(4):
            client.recv(timeout=20)
    until(lambda: [ended(server, tag) for tag in tags] == ["interrupted", None, "interrupted"], seconds=10)


def stopped_while(
    server: Server, message: str, wait_for: Callable[[ClientConnection], object]
) -> tuple[list[dict], int | None]:
    with server, opened(server) as client:
        if message:
            client.send(message)
        wait_for(client)
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGTERM)
        events, code = closed(client)
        server.process.wait(20)
        assert server.process.returncode == 0, server.tail()
    return events, code


def test_a_stop_closes_idle_connections_at_once(tmp_path: Path, provider: ProviderProcess) -> None:
    server = scripted_server(tmp_path, provider, ASTROLABE_GRACE="20")
    assert stopped_while(server, "", lambda _: None) == ([], 1012)


def test_a_stop_lets_responses_end_within_the_grace_time(tmp_path: Path, provider: ProviderProcess) -> None:
    server = scripted_server(tmp_path, provider, ASTROLABE_GRACE="20")
    message = create(deltas=20, wait=0.1)
    events, code = stopped_while(server, message, lambda client: client.recv(timeout=20))
    assert (events[-1]["type"], code) == ("response.completed", 1012)


def test_a_stop_ends_responses_that_outlast_the_grace_time(tmp_path: Path, provider: ProviderProcess) -> None:
    server = scripted_server(tmp_path, provider, ASTROLABE_GRACE="1")
    message = create(stream_id="a", deltas=1000, wait=0.1)
    events, code = stopped_while(server, message, lambda client: client.recv(timeout=20))
    assert (events[-1]["type"], events[-1]["status"], events[-1]["stream_id"]) == ("error", 503, "a")
    assert code == 1012


# --- records ---


def test_connections_and_their_messages_are_logged_and_counted(server: Server) -> None:
    before = len(server.log.read_text())
    with opened(server) as client:
        identifier = client.response.headers["x-request-id"]
        answer(client, create())
        answer(client, create(model=5))
        assert "astrolabe_open_websockets 1.0" in httpx.get(f"{server.root}/metrics").text
    until(lambda: identifier in server.log.read_text()[before:], seconds=5)
    lines = [json.loads(line) for line in server.log.read_text()[before:].splitlines()]
    found = [
        line for line in lines if line.get("event") == "request_finished" and "espons" in line["operation"]
    ]
    assert [(line["operation"], line["method"], line["status"]) for line in found] == [
        ("createResponse", "MESSAGE", 200),
        ("createResponse", "MESSAGE", 400),
        ("connectResponses", "GET", 101),
    ]
    assert found[0]["received"] == len(create())
    assert found[0]["sent"] > 0
