"""A server whose models.yaml changes: every worker reads it, and no stream is lost."""

import json
import os
import signal
import threading
from pathlib import Path

import httpx
import pytest

from tests.provider import ProviderProcess
from tests.server import Server, until
from tests.serving.test_stop import stream

pytestmark = pytest.mark.server


def write(path: Path, provider: ProviderProcess, *names: str) -> None:
    models = "".join(f"  {name}: {{provider: p}}\n" for name in names)
    new = path.with_suffix(".new")
    new.write_text(f'providers: {{p: {{base_url: "{provider.url}"}}}}\nmodels:\n{models}')
    new.replace(path)


def served(server: Server) -> set[str]:
    """The names that the workers serve: those of eight answers, each over a connection of its own."""
    answers = (httpx.get(f"{server.url}/models", headers={"connection": "close"}) for _ in range(8))
    return {",".join(model["id"] for model in answer.json()["data"]) for answer in answers}


def events(server: Server, name: str) -> list[str]:
    return [line for line in server.log.read_text().splitlines() if name in line]


def test_a_changed_file_is_read_by_every_worker_and_by_new_ones_and_no_stream_is_lost(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    path = tmp_path / "models.yaml"
    write(path, provider, "m")
    begun, frames = threading.Event(), []
    with Server(tmp_path, ASTROLABE_MODELS=str(path)) as server:
        turn = {"text": "one two three four five six", "delay": 1}
        client = threading.Thread(target=stream, args=(server, turn, begun, frames))
        client.start()
        assert begun.wait(20)
        assert server.process is not None
        before = server.workers()

        write(path, provider, "m", "watched")
        until(lambda: served(server) == {"m,watched"}, seconds=20)
        path.write_text("models: [")
        os.kill(server.process.pid, signal.SIGHUP)
        until(lambda: len(events(server, "routes_not_reloaded")) >= 2, seconds=20)
        assert served(server) == {"m,watched"}
        write(path, provider, "m", "signalled")
        os.kill(server.process.pid, signal.SIGHUP)
        until(lambda: served(server) == {"m,signalled"}, seconds=20)

        client.join(30)
        assert [line for line in frames if line][-1] == "data: [DONE]"
        text = "".join(
            choice["delta"].get("content") or ""
            for line in frames
            if line.startswith("data: {")
            for choice in json.loads(line.removeprefix("data: "))["choices"]
        )
        assert text == turn["text"]
        assert server.workers() == before, "a reload restarts no worker"
        os.kill(before[0], signal.SIGKILL)
        until(lambda: len(server.workers()) == 2 and before[0] not in server.workers(), seconds=20)
        until(lambda: served(server) == {"m,signalled"}, seconds=20)
