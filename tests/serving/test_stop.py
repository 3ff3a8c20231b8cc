"""A stop lets what runs end within the grace time, and cuts off the rest so that its client knows."""

import json
import os
import secrets
import signal
import socket
import subprocess
import threading
from pathlib import Path

import httpx
import pytest

from tests.provider import ProviderProcess
from tests.server import Server, until
from tests.serving.test_metrics import count

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


def test_a_stream_that_ends_within_the_grace_time_is_complete(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    lines = stopped_while(tmp_path, provider, {"text": "one two three four", "delay": 0.2})
    assert lines[-1] == "data: [DONE]"


def test_a_stream_that_outlasts_the_grace_time_ends_with_an_error_event(
    tmp_path: Path, provider: ProviderProcess
) -> None:
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


def test_a_call_that_waits_beyond_the_grace_time_is_answered(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    tag, answers = secrets.token_hex(8), []
    content = "script: " + json.dumps({"tag": tag, "turns": [{"text": "late", "wait": 30}]})
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    environment = {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": provider.url, "ASTROLABE_GRACE": "1"}
    with Server(tmp_path, workers=1, **environment) as server:

        def ask() -> None:
            answers.append(httpx.post(f"{server.url}/chat/completions", json=body, timeout=30))

        client = threading.Thread(target=ask)
        client.start()
        seen = f"{provider.url.removesuffix('/v1')}/_requests"
        until(lambda: httpx.get(seen, params={"tag": tag}).json() != [], seconds=20)
        server.stop()
        client.join(20)
    assert answers[0].status_code == 503
    assert answers[0].headers["retry-after"] == "1"
    assert "stopping" in answers[0].json()["error"]["message"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_to_the_master_ends_everything_in_order(tmp_path: Path, number: signal.Signals) -> None:
    environment = {"ASTROLABE_GRACE": "20", "OPENAI_API_KEY": "sk-x", "ASTROLABE_LOG_LEVEL": "debug"}
    with Server(tmp_path, TMPDIR=str(tmp_path), **environment) as server:
        until(lambda: server.log.read_text().count("Application startup complete") == 2, seconds=20)
        workers = server.workers()
        assert server.process is not None
        server.process.send_signal(number)
        assert server.process.wait(15) == 0, server.tail()
    assert not [pid for pid in workers if is_alive(pid)]
    assert not [*tmp_path.glob("astrolabe-*")]
    assert "was sent SIG" not in server.log.read_text()


def test_a_second_ctrl_c_ends_the_grace_time(tmp_path: Path, provider: ProviderProcess) -> None:
    begun, frames = threading.Event(), []
    environment = {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": provider.url, "ASTROLABE_GRACE": "60"}
    with Server(tmp_path, workers=1, **environment) as server:
        assert server.process is not None
        turn = {"text": "one two three four", "stall_after": 2}
        client = threading.Thread(target=stream, args=(server, turn, begun, frames))
        client.start()
        assert begun.wait(20)
        os.killpg(server.process.pid, signal.SIGINT)  # as a terminal does
        until(lambda: "server_stopping" in server.log.read_text(), seconds=10)
        os.killpg(server.process.pid, signal.SIGINT)
        assert server.process.wait(20) == 0, server.tail()
        client.join(20)
    assert [line for line in frames if line][-2] == "event: error"
    stopping, finished = server.log.read_text().splitlines()[-2:]
    event = json.loads(stopping)
    assert (event["event"], event["open_requests"], event["grace"]) == ("server_stopping", 1, 60)
    assert json.loads(finished)["operation"] == "createChatCompletion"


def test_a_run_that_outlasts_the_grace_time_is_freed_and_its_client_knows(
    tmp_path: Path, provider: ProviderProcess
) -> None:
    content = "script: " + json.dumps({"turns": [{"text": "one two three", "stall_after": 2}]})
    run = {"thread": {"messages": [{"role": "user", "content": content}]}, "stream": True}
    environment = {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": provider.url, "ASTROLABE_GRACE": "1"}
    with Server(tmp_path, workers=1, **environment) as server:
        assistant = httpx.post(f"{server.url}/assistants", json={"model": "m"}).json()["id"]
        with httpx.stream(
            "POST", f"{server.url}/threads/runs", json={**run, "assistant_id": assistant}, timeout=30
        ) as answer:
            lines = answer.iter_lines()
            next(line for line in lines if line == "event: thread.message.delta")
            server.stop()
            *_, event, data = [line for line in lines if line]
    assert event == "event: error"
    message = json.loads(data.removeprefix("data: "))["error"]["message"]
    assert "The run continues; GET /v1/threads/thread_" in message


def test_ctrl_c_during_a_start_leaves_no_traceback(tmp_path: Path) -> None:
    # A worker that gunicorn has just forked may not get the signal, and is killed after the grace time.
    server = Server(tmp_path, ASTROLABE_CACHE=str(tmp_path), OPENAI_API_KEY="sk-x", ASTROLABE_GRACE="1")
    with server.log.open("wb") as log:
        process = subprocess.Popen(
            server.command, cwd=tmp_path, env=server.environment, stdout=log, stderr=log
        )
        try:
            while not loads_the_application(process.pid):  # for about a second
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            assert process.wait(20) in (-signal.SIGINT, 0)  # 0 if gunicorn's own handler was just set
        finally:
            process.kill()
            process.wait()
    assert "Traceback" not in server.log.read_text()


def loads_the_application(pid: int) -> bool:
    """Whether a process has imported libraries, and handles no Ctrl-C of its own yet."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (mask,) = (int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    catches = mask >> (signal.SIGINT - 1) & 1
    return not catches and "/site-packages/" in Path(f"/proc/{pid}/maps").read_text()


def test_workers_that_die_are_replaced_and_what_they_counted_stays(tmp_path: Path) -> None:
    with Server(tmp_path, workers=1, OPENAI_API_KEY="sk-x", TMPDIR=str(tmp_path)) as server:
        for number in (1, 2):
            httpx.get(f"{server.url}/health")
            until(lambda n=number: count(server, "getHealth", 200) == n, seconds=5)  # type: ignore[misc]
            worker = server.workers()[0]
            os.kill(worker, signal.SIGKILL)
            until(lambda old=worker: server.workers() not in ([old], []), seconds=20)  # type: ignore[misc]
            server.wait_ready()
        assert count(server, "getHealth", 200) == 2
        [folder] = tmp_path.glob("astrolabe-metrics-*")
        assert {path.stem.rpartition("_")[2] for path in folder.iterdir()} <= {"0", "1"}


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
