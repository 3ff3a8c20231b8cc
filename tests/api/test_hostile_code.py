"""While models' code does its worst in sandboxes, the server answers other requests as usual."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from statistics import median, quantiles

import httpx
import pytest

from inference.code.watch import descendants
from persistence.types import JSON
from tests.fixtures.sandboxes import needs_sandbox
from tests.provider import ProviderProcess
from tests.server import Server, until

pytestmark = [needs_sandbox, pytest.mark.server]

BOMB = "import os\nwhile True:\n  try: os.fork(); os.setsid()\n  except OSError: pass"
HOSTILE = {
    "fork bomb": f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {BOMB!r}], timeout=60)",
    "memory bomb": "held = []\nwhile True: held.append(bytearray(2**24))",
    "output": "for _ in range(2000): print('x' * 500_000)",
    "full disk": "f = open('big', 'wb')\nwhile True: f.write(bytes(2**20))",
    "many files": "for n in range(10**6): open(str(n), 'w').close()",
    "busy": "import time\nend = time.monotonic() + 8\nwhile time.monotonic() < end: pass",
    "killed parent": "import os; os.kill(os.getppid(), 9)",
}
SLOWEST = 0.25
"""Seconds that nearly every GET takes at most, on a machine with two processors that tests share."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile")
    with Server(folder, workers=1, OPENAI_API_KEY="sk-x", OPENAI_BASE_URL=provider.url) as server:
        yield server


def answer(server: Server, code: str) -> JSON:
    """Return a response whose model runs code."""
    turns = [{"calls": [{"name": "code_interpreter", "arguments": {"code": code}}]}, {"text": "{tool}"}]
    body = {
        "model": "any-model",
        "input": f"script: {json.dumps({'turns': turns})}",
        "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}],
        "include": ["code_interpreter_call.outputs"],
    }
    found: JSON = httpx.post(f"{server.url}/responses", json=body, timeout=150).raise_for_status().json()
    return found


@pytest.mark.timeout(200)
def test_other_requests_are_answered_meanwhile(server: Server) -> None:
    made = httpx.post(f"{server.url}/assistants", json={"model": "any-model"}).json()
    with httpx.Client(base_url=server.url) as client, ThreadPoolExecutor(len(HOSTILE)) as pool:

        def seconds() -> float:
            began = time.monotonic()
            client.get(f"/assistants/{made['id']}").raise_for_status()
            return time.monotonic() - began

        started = {name: pool.submit(answer, server, code) for name, code in HOSTILE.items()}
        taken: list[float] = []
        while wait(started.values(), timeout=0.02).not_done:
            taken.append(seconds())
    print(f"GET: p50 {median(taken):.4f} s, p95 {quantiles(taken, n=20)[-1]:.4f} s, {len(taken)} of them")
    assert quantiles(taken, n=20)[-1] < SLOWEST
    texts = {name: text(response.result()) for name, response in started.items()}
    assert "too many processes" in texts["fork bomb"]
    assert "too much memory" in texts["memory bomb"] or "MemoryError" in texts["memory bomb"]
    assert "cut off" in texts["output"] or len(texts["output"]) < 300_000
    assert "File too large" in texts["full disk"] or "No space left" in texts["full disk"]
    assert "too many files" in texts["many files"]
    assert texts["busy"] == texts["killed parent"] == "[The code ran and showed nothing.]"


def text(response: JSON) -> str:
    """Return what the model said after its call: what it read."""
    assert response["status"] == "completed", response["error"]
    said: str = response["output"][-1]["content"][0]["text"]
    return said


def test_no_process_of_a_sandbox_outlives_a_killed_server(tmp_path: Path, provider: ProviderProcess) -> None:
    server = Server(tmp_path, workers=1, OPENAI_API_KEY="sk-x", OPENAI_BASE_URL=provider.url)
    with server:
        assert text(answer(server, "print(6 * 7)")).startswith("42")
        [worker] = server.workers()
        inside = descendants(worker)
        assert any("ipykernel_launcher" in command(pid) for pid in inside)
        server.kill()
        until(lambda: not any("ipykernel_launcher" in command(pid) for pid in inside), seconds=10)


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
