"""Code in containers through the SDK, with two workers of which one is killed."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from inference.code.watch import children
from tests.fixtures.sandboxes import needs_sandbox
from tests.provider import ProviderProcess
from tests.server import Server, until

pytestmark = [
    pytest.mark.server,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    needs_sandbox,
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("code")
    with Server(folder, OPENAI_API_KEY="sk-provider", OPENAI_BASE_URL=provider.url) as server:
        yield server


def script(code: str, tag: str | None = None) -> str:
    """A message that has the provider call the tool, then answer."""
    turns = [{"calls": [{"name": "code_interpreter", "arguments": {"code": code}}]}, {"text": "Done."}]
    return "script: " + json.dumps({"turns": turns, **({"tag": tag} if tag else {})})


def connected(server: Server) -> OpenAI:
    """A client with connections of its own, which any worker may get."""
    return OpenAI(base_url=server.url, api_key="any", max_retries=2, timeout=120)


def logs(server: Server, container: str, code: str, tag: str | None = None) -> str:
    """Return what code prints in a container, run by a response."""
    tool: Any = {"type": "code_interpreter", "container": container}
    with connected(server) as client:
        response = client.responses.create(
            model="m",
            input=script(code, tag),
            tools=[tool],
            include=["code_interpreter_call.outputs"],
            store=False,
        )
    [call] = [item for item in response.output if item.type == "code_interpreter_call"]
    assert (call.status, call.container_id) == ("completed", container)
    return "".join(output.logs for output in call.outputs or () if output.type == "logs")


def holders(server: Server) -> list[int]:
    """Return the workers that have sandboxes."""
    return [worker for worker in server.workers() if any(map(_is_sandbox, children(worker)))]


def _is_sandbox(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"bwrap\0")
    except OSError:
        return False


def kill(server: Server, worker: int) -> None:
    """Kill a worker, and wait until gunicorn has another one."""
    os.kill(worker, signal.SIGKILL)
    until(lambda: worker not in server.workers() and len(server.workers()) == 2, seconds=30)
    server.wait_ready()


def test_both_workers_run_code_in_the_one_sandbox_of_a_container(server: Server) -> None:
    with connected(server) as client:
        container = client.containers.create(name="c").id
        logs(server, container, "n = 0")
        assert [logs(server, container, "n += 1; print(n)") for _ in range(8)] == [
            f"{n}\n" for n in range(1, 9)
        ]
        assert len(holders(server)) == 1
        client.containers.delete(container)
        until(lambda: holders(server) == [], seconds=10)


def test_after_its_worker_is_killed_a_container_has_its_files_and_the_model_knows(
    server: Server, provider: ProviderProcess, tag: str
) -> None:
    with connected(server) as client:
        container = client.containers.create(name="c").id
        client.containers.files.create(container, file=("in.txt", b"in"))
        logs(server, container, "x = 1; _ = open('out.txt', 'w').write('out')")
        [worker] = holders(server)
        kill(server, worker)
        read = "print(open('in.txt').read(), open('out.txt').read(), 'x' in globals())"
        assert logs(server, container, read, tag) == "in out False\n"
        paths = {file.path for file in client.containers.files.list(container)}
        assert paths == {"/mnt/data/in.txt", "/mnt/data/out.txt"}
        client.containers.delete(container)
    told = provider.received(tag)[-1]["body"]["messages"][-1]
    assert told["role"] == "tool"
    assert "variables and imports of earlier code are lost" in told["content"]


def test_a_run_whose_worker_is_killed_while_its_code_runs_is_taken_up(server: Server) -> None:
    code = "import time; time.sleep(4); print('done')"
    with connected(server) as client:
        assistant = client.beta.assistants.create(model="m", tools=[{"type": "code_interpreter"}])
        run = client.beta.threads.create_and_run(
            assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": script(code)}]}
        )
        until(lambda: holders(server) != [], seconds=60)
        time.sleep(1)  # the code runs, most likely: before or after is taken up as well
        [worker] = holders(server)
        kill(server, worker)

        def status() -> str:
            return str(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).status)

        until(lambda: status() == "completed", seconds=90)
        steps = client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc").data
        details = [step.step_details for step in steps]
        [call] = [call for each in details if each.type == "tool_calls" for call in each.tool_calls]
        assert call.type == "code_interpreter"
        outputs = call.code_interpreter.outputs
        assert [output.logs for output in outputs if output.type == "logs"] == ["done\n"]
