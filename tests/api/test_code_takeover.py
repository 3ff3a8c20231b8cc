"""A run whose worker is killed while its code runs goes on: without variables, with the container's files."""

import json
import os
import signal
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from persistence.types import JSON
from tests.fixtures.sandboxes import needs_sandbox
from tests.provider import ProviderProcess
from tests.server import Server, until

pytestmark = [
    pytest.mark.server,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the SDK's, of Assistants
    needs_sandbox,
]


def code(text: str) -> JSON:
    return {"calls": [{"name": "code_interpreter", "arguments": {"code": text}}]}


def script(*turns: JSON) -> str:
    return "script: " + json.dumps({"turns": turns})


TURNS = (
    code("x = 1\n_ = open('/mnt/data/a.txt', 'w').write('kept')"),
    code(
        "import time\n"
        "print('x' in globals(), open('/mnt/data/a.txt').read(), flush=True)\n"
        "time.sleep(100 if 'x' in globals() else 0)"
    ),
    {"text": "{tool} sandbox:/mnt/data/a.txt"},
)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("engine", ["sqlite", "cassandra"])
def test_code_whose_worker_is_killed_runs_again_and_its_model_is_told(
    engine: str, tmp_path: Path, provider: ProviderProcess, request: pytest.FixtureRequest
) -> None:
    environment = {"OPENAI_API_KEY": "sk-provider", "OPENAI_BASE_URL": provider.url}
    if engine == "cassandra":
        environment["ASTROLABE_STORE"] = request.getfixturevalue("cassandra_url")
    with (
        Server(tmp_path, **environment) as server,
        OpenAI(base_url=server.url, api_key="any", max_retries=2, timeout=60) as client,
    ):
        assistant = client.beta.assistants.create(model="m", tools=[{"type": "code_interpreter"}])
        thread = client.beta.threads.create(messages=[{"role": "user", "content": script(*TURNS)}])
        run_id = ""
        with pytest.raises(httpx.RemoteProtocolError):
            for event in client.beta.threads.runs.create(
                thread_id=thread.id, assistant_id=assistant.id, stream=True
            ):
                if event.event == "thread.run.created":
                    run_id = event.data.id
                if event.event == "thread.run.step.delta" and "True kept" in event.data.model_dump_json():
                    for pid in server.workers():
                        os.kill(pid, signal.SIGKILL)
            raise AssertionError("the stream has ended as usual")  # pragma: no cover

        def has_ended() -> bool:
            run = client.beta.threads.runs.retrieve(run_id, thread_id=thread.id)
            return run.status not in ("queued", "in_progress")

        until(has_ended, seconds=90)
        run = client.beta.threads.runs.retrieve(run_id, thread_id=thread.id)
        assert run.status == "completed", run.last_error
        [answer] = client.beta.threads.messages.list(thread.id, limit=1).data
        text = answer.content[0].text
        assert text.value.startswith("The Python session is a new one")
        assert text.value.endswith("False kept sandbox:/mnt/data/a.txt")
        assert client.files.content(text.annotations[0].file_path.file_id).read() == b"kept"
        steps = client.beta.threads.runs.steps.list(run_id, thread_id=thread.id, order="asc").data
        assert [step.status for step in steps] == ["completed", "failed", "completed", "completed"]

        response = client.responses.create(
            model="m",
            tools=[{"type": "code_interpreter", "container": {"type": "auto"}}],
            input=script(code("print(6 * 7)"), {"text": "{tool}"}),
        )
        assert response.output_text == "42"
