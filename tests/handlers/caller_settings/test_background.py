"""Provider settings of one request while work in the background needs them."""

import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from persistence.types import JSON
from serving.errors import SettingsRefused
from serving.settings import Settings
from tests.handlers.caller_settings.requests import KEY, TENANT, refusal
from tests.provider import ProviderProcess
from tests.server import Server, until

pytestmark = pytest.mark.server

SECRET = "a-secret-of-the-operator"


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("keeping")
    hosts = f"127.0.0.1:{provider.port}"
    environment = {"ASTROLABE_AUTH": "astra", "ASTROLABE_PROVIDER_HOSTS": hosts, "ASTROLABE_SECRET": SECRET}
    with Server(folder, **environment) as server:
        yield server


@pytest.fixture
def caller(keeping: Server, provider: ProviderProcess) -> Iterator[httpx.Client]:
    headers = {**TENANT, "Authorization": f"Bearer {KEY}", "base-url": provider.url}
    with httpx.Client(base_url=keeping.url, headers=headers, timeout=60) as client:
        yield client


def started(
    client: httpx.Client, tag: str, *, stream: bool = False, **turn: object
) -> tuple[str, httpx.Response]:
    """Return the path of a new thread's runs, and the response to the start of one."""
    content = "script: " + json.dumps({"tag": tag, "turns": [{"text": "Hello.", **turn}]})
    assistant = client.post("assistants", json={"model": "openai/gpt-4o"}).json()["id"]
    messages = [{"role": "user", "content": content}]
    path = f"threads/{client.post('threads', json={'messages': messages}).json()['id']}/runs"
    return path, client.post(path, json={"assistant_id": assistant, "stream": stream})


def ended(client: httpx.Client, path: str, *, seconds: float = 30) -> JSON:
    """Return the thread's one run, once it has ended."""

    def run() -> JSON:
        (one,) = client.get(path).json()["data"]
        return dict(one)

    until(lambda: run()["status"] not in ("queued", "in_progress"), seconds=seconds)
    return run()


def files_with(server: Server, text: str) -> list[str]:
    written = [path for path in server.folder.rglob("*") if path.is_file()]
    return [path.name for path in written if text.encode() in path.read_bytes()]


def test_a_background_run_keeps_the_callers_settings_encrypted_until_it_ends(
    keeping: Server, caller: httpx.Client, provider: ProviderProcess, tag: str
) -> None:
    path, answer = started(caller, tag, wait=1)
    assert answer.status_code == 200, answer.text
    database = sqlite3.connect(keeping.folder / "astrolabe.db")
    held = [row for row in database.execute("SELECT * FROM jobs") if '"caller"' in str(row)]
    assert len(held) == 1
    assert files_with(keeping, KEY) == []
    assert ended(caller, path)["status"] == "completed"
    assert not [row for row in database.execute("SELECT * FROM jobs") if '"caller"' in str(row)]
    assert provider.received(tag)[0]["headers"]["authorization"] == f"Bearer {KEY}"
    assert files_with(keeping, KEY) == []


def test_a_run_of_a_killed_worker_goes_on_with_its_callers_settings(
    keeping: Server, caller: httpx.Client, provider: ProviderProcess, tag: str
) -> None:
    path, _ = started(caller, tag, wait=2)
    until(lambda: len(provider.received(tag)) == 1, seconds=10)
    keeping.kill()
    keeping.start()
    assert ended(caller, path)["status"] == "completed"
    sent = [record["headers"]["authorization"] for record in provider.received(tag)]
    assert sent == [f"Bearer {KEY}"] * 2


def test_without_a_secret_a_background_run_is_refused_and_its_thread_is_free(
    http: httpx.Client, provider: ProviderProcess, tag: str
) -> None:
    http.headers.update({"api-key": KEY, "base-url": provider.url})
    path, answer = started(http, tag)
    status, error = refusal(answer)
    assert (status, error["code"]) == (400, "settings_not_kept")
    assert "ASTROLABE_SECRET" in error["message"]
    assert http.get(path).json()["data"] == []
    assert provider.received(tag) == []
    files = {"file": ("a.txt", "words")}
    file = http.post("files", data={"purpose": "assistants"}, files=files).json()["id"]
    status, error = refusal(http.post("vector_stores", json={"file_ids": [file]}))
    assert (status, error["code"]) == (400, "settings_not_kept")


def test_a_streamed_run_without_a_secret_fails_if_its_worker_dies(
    tmp_path: Path, provider: ProviderProcess, tag: str
) -> None:
    hosts = f"127.0.0.1:{provider.port}"
    environment = {"ASTROLABE_PROVIDER_HOSTS": hosts, "OPENAI_API_KEY": "sk-the-operators"}
    headers = {**TENANT, "Authorization": f"Bearer {KEY}", "base-url": provider.url}
    with (
        Server(tmp_path, ASTROLABE_AUTH="astra", **environment) as server,
        httpx.Client(base_url=server.url, headers=headers, timeout=60) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        pool.submit(started, client, tag, stream=True, wait=30)
        until(lambda: len(provider.received(tag)) == 1, seconds=20)
        server.kill()
        server.start()
        (thread,) = client.get("threads").json()["data"]
        run = ended(client, f"threads/{thread['id']}/runs")
    assert run["status"] == "failed"
    assert "provider settings were lost" in run["last_error"]["message"]
    assert len(provider.received(tag)) == 1


def test_files_and_searches_are_embedded_by_the_callers_provider(
    keeping: Server, caller: httpx.Client, provider: ProviderProcess, tag: str
) -> None:
    text = "script: " + json.dumps({"tag": tag, "turns": [{}]})
    files = {"file": ("a.txt", text)}
    model = {"embedding-model": "openai/own-embedder"}
    file = caller.post("files", data={"purpose": "assistants"}, files=files, headers=model).json()["id"]
    store = caller.post("vector_stores", json={"file_ids": [file]}).json()["id"]
    until(lambda: caller.get(f"vector_stores/{store}").json()["file_counts"]["completed"] == 1, seconds=30)
    found = caller.post(f"vector_stores/{store}/search", json={"query": text}).json()["data"]
    assert [one["file_id"] for one in found] == [file]
    sent = provider.received(tag)
    assert [(one["path"], one["body"]["model"]) for one in sent] == [("/v1/embeddings", "own-embedder")] * 2
    assert {one["headers"]["authorization"] for one in sent} == {f"Bearer {KEY}"}
    assert files_with(keeping, KEY) == []


@pytest.mark.parametrize("secret", ["short", ",", f"{SECRET},short"])
def test_a_secret_that_is_too_short_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(SettingsRefused, match=r"ASTROLABE_SECRET=\*\*\*: should .*16"):
        Settings.read(ASTROLABE_SECRET=secret)


@pytest.mark.parametrize("between", [",", ", ", "\n", ",\n"])
def test_several_secrets_are_read_in_their_order(between: str) -> None:
    assert Settings.read(ASTROLABE_SECRET=f"{SECRET}{between}{SECRET[::-1]}\n").secrets == (
        SECRET,
        SECRET[::-1],
    )
