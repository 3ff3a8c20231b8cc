"""A stop lets what runs end within the grace time, and cuts off the rest so that its client knows."""

import json
import socket
import threading
from pathlib import Path

import httpx
import pytest

from astrolabe_server.tests.provider import ProviderProcess
from astrolabe_server.tests.server import Server, until

pytestmark = pytest.mark.server


def stream(server: Server, turn: dict, begun: threading.Event, frames: list[str]) -> None:
    """Read a streamed completion to its end."""
    content = "script: " + json.dumps({"turns": [turn]})
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": content}]}
    with httpx.stream("POST", f"{server.url}/chat/completions", json=body, timeout=30) as answer:
        for line in answer.iter_lines():
            frames.append(line)
            begun.set()


def stopped_while(folder: Path, provider: ProviderProcess, turn: dict) -> list[str]:
    """The lines that a client got whose server was stopped after the first of them."""
    begun, frames = threading.Event(), []
    environment = {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": provider.url, "ASTROLABE_GRACE": "2"}
    with Server(folder, workers=1, **environment) as server:
        client = threading.Thread(target=stream, args=(server, turn, begun, frames))
        client.start()
        assert begun.wait(20)
        server.stop()
        client.join(20)
        assert not client.is_alive()
        assert server.process is not None
        assert server.process.returncode == 0, server.tail()
    return [line for line in frames if line]


def test_a_stream_that_ends_within_the_grace_time_is_whole(tmp_path: Path, provider: ProviderProcess) -> None:
    lines = stopped_while(tmp_path, provider, {"text": "one two three four", "delay": 0.2})
    assert lines[-1] == "data: [DONE]"


def test_a_stream_that_does_not_is_told_so(tmp_path: Path, provider: ProviderProcess) -> None:
    lines = stopped_while(tmp_path, provider, {"text": "one two three four", "stall_after": 2})
    assert lines[-2] == "event: error"
    assert "stopping" in json.loads(lines[-1].removeprefix("data: "))["error"]["message"]


def test_workers_end_with_a_master_that_was_killed(tmp_path: Path, provider: ProviderProcess) -> None:
    environment = {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": provider.url}
    with Server(tmp_path, **environment) as server:
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        until(lambda: not listens(server.port), seconds=60)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
