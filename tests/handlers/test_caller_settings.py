"""Provider settings in the headers of one request, against a live server of two workers in `astra` mode."""

import json
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from handlers.google import google_credentials
from persistence.types import JSON
from serving.errors import SettingsRefused
from serving.settings import Settings
from tests.provider import ProviderProcess
from tests.server import Server, until

pytestmark = pytest.mark.server

TENANT = {"astra-api-token": "AstraCS:ours:0123456789abcdef"}
KEY = "sk-the-callers-own-secret"
Ask = Callable[..., JSON]


@pytest.fixture(scope="module")
def astra(tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("callers")
    hosts = f"127.0.0.1:{provider.port}"
    with Server(folder, ASTROLABE_AUTH="astra", ASTROLABE_PROVIDER_HOSTS=hosts) as server:
        yield server


@pytest.fixture
def http(astra: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=astra.url, headers=TENANT, timeout=60) as client:
        yield client


@pytest.fixture
def ask(tag: str) -> Ask:
    """A chat request that makes the provider record it."""

    def request(model: str = "openai/gpt-4o", **fields: object) -> JSON:
        script = json.dumps({"tag": tag, "turns": [{"text": "Hello."}]})
        return {"model": model, "messages": [{"role": "user", "content": f"script: {script}"}], **fields}

    return request


def refusal(answer: httpx.Response) -> tuple[int, JSON]:
    """The status and the error of an answer; a stream that was silent for long has it as an event, behind 200."""
    is_stream = answer.headers["content-type"].startswith("text/event-stream")
    content = answer.text.rpartition("event: error\ndata: ")[2] if is_stream else answer.text
    error = json.loads(content)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert KEY not in answer.text
    return answer.status_code, error


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"Authorization": f"Bearer {KEY}"}, KEY),
        ({"Authorization": "Bearer sk-other", "api-key": KEY}, KEY),
        ({"Authorization": "Bearer sk-other", "api-key": "sk-other", "LLM-PARAM-api-key": KEY}, KEY),
    ],
)
def test_the_callers_key_is_sent_for_that_request_only(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str, headers: dict[str, str], key: str
) -> None:
    answer = http.post("chat/completions", json=ask(), headers={**headers, "base-url": provider.url})
    assert answer.status_code == 200, answer.text
    http.post(
        "chat/completions",
        json=ask(),
        headers={"Authorization": "Bearer sk-next", "base-url": provider.url},
    )
    sent = [record["headers"]["authorization"] for record in provider.received(tag)]
    assert sent == [f"Bearer {key}", "Bearer sk-next"]
    assert provider.received(tag)[0]["body"]["model"] == "gpt-4o"


def test_parameters_are_cast_and_the_bodys_own_fields_go_before(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    headers = {
        "api-key": KEY,
        "LLM-PARAM-base-url": provider.url,
        "LLM-PARAM-temperature": "0.5",
        "LLM-PARAM-top-k": "40",
        "LLM-PARAM-parallel-tool-calls": "false",
        "LLM-PARAM-response-format": '{"type": "json_object"}',
        "LLM-PARAM-stop": "END",
        "LLM-PARAM-max-tokens": "7",
    }
    answer = http.post("chat/completions", json=ask(max_tokens=50), headers=headers)
    assert answer.status_code == 200, answer.text
    sent = provider.received(tag)[0]["body"]
    assert (sent["temperature"], sent["top_k"], sent["parallel_tool_calls"]) == (0.5, 40, False)
    assert (sent["response_format"], sent["stop"], sent["max_tokens"]) == (
        {"type": "json_object"},
        ["END"],
        50,
    )


def test_a_models_name_chooses_its_provider(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    headers = {"api-key": KEY, "base-url": provider.root}
    body = ask("anthropic/claude-sonnet-4-5", max_tokens=50)
    answer = http.post("chat/completions", json=body, headers=headers)
    assert answer.json()["choices"][0]["message"]["content"] == "Hello."
    (record,) = provider.received(tag)
    assert (record["path"], record["headers"]["x-api-key"]) == ("/v1/messages", KEY)


def test_embeddings_have_parameters_of_their_own(http: httpx.Client, provider: ProviderProcess) -> None:
    headers = {"api-key": KEY, "EMBEDDING-PARAM-base-url": provider.url, "EMBEDDING-PARAM-dimensions": "16"}
    answer = http.post("embeddings", json={"model": "openai/m", "input": "x"}, headers=headers)
    assert len(answer.json()["data"][0]["embedding"]) == 16


def test_a_run_asks_the_callers_provider(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    assistant = http.post("assistants", json={"model": "openai/gpt-4o"}).json()["id"]
    thread = http.post("threads", json={"messages": ask()["messages"]}).json()["id"]
    body = {"assistant_id": assistant, "stream": True}
    headers = {"Authorization": f"Bearer {KEY}", "base-url": provider.url, "LLM-PARAM-seed": "4"}
    answer = http.post(f"threads/{thread}/runs", json=body, headers=headers)
    assert "thread.run.completed" in answer.text
    (record,) = provider.received(tag)
    assert record["headers"]["authorization"] == f"Bearer {KEY}"
    assert record["body"]["seed"] == 4


def test_without_a_key_of_the_caller_no_provider_is_asked(http: httpx.Client, ask: Ask) -> None:
    status, error = refusal(http.post("chat/completions", json=ask("groq/llama-3")))
    assert (status, error["param"], error["code"]) == (400, "api-key", "missing_header")
    body = ask("bedrock/anthropic.claude-3")
    status, error = refusal(http.post("chat/completions", json=body, headers={"api-key": KEY}))
    assert (status, error["param"]) == (400, "aws-access-key-id")


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "api-key",
        "api-version",
        "aws-access-key-id",
        "aws-region-name",
        "aws-secret-access-key",
        "base-url",
        "custom-llm-provider",
        "embedding-model",
        "google-application-credentials-file-id",
        "project-id",
        "vertexai-location",
        "vertexai-project",
        "LLM-PARAM-temperature",
        "EMBEDDING-PARAM-dimensions",
    ],
)
@pytest.mark.parametrize("value", ["g\u00e4rbage\u0080", "x" * 60_000])
def test_a_header_of_garbage_is_refused_by_its_name(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str, name: str, value: str
) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "base-url": provider.url, name: value.encode("utf-8")}
    status, error = refusal(http.post("chat/completions", json=ask(), headers=headers))  # type: ignore[arg-type]
    assert (status, error["param"], error["code"]) == (400, name.lower(), "invalid_header")
    assert provider.received(tag) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LLM-PARAM-temperature", "hot"),
        ("LLM-PARAM-temperature", "nan"),
        ("LLM-PARAM-temperature", "1e999"),
        ("LLM-PARAM-seed", "1.5"),
        ("LLM-PARAM-seed", "1" + "0" * 300),
        ("LLM-PARAM-seed", "1" + "0" * 5000),
        ("LLM-PARAM-stop", "[" * 253 + "]" * 253),
        ("LLM-PARAM-logit-bias", '{"a":' * 900 + "1" + "}" * 900),
        ("LLM-PARAM-logprobs", "maybe"),
        ("LLM-PARAM-response-format", "[1]"),
        ("Authorization", "Basic dXNlcjpwYXNz"),
        ("custom-llm-provider", "../nobody"),
        ("aws-region-name", "evil.example/#"),
        ("vertexai-location", "a.b"),
        ("LLM-PARAM-mock-response", "x"),
        ("LLM-PARAM-vertex-credentials", "/etc/passwd"),
    ],
)
def test_a_value_that_a_setting_cannot_have_is_refused(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str, name: str, value: str
) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "base-url": provider.url, name: value}
    status, _ = refusal(http.post("chat/completions", json=ask("gpt-4o"), headers=headers))
    assert status in range(400, 500)
    assert provider.received(tag) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/v1",
        "http://localhost:{port}/v1",
        "http://127.1:{port}/v1",
        "http://2130706433:{port}/v1",
        "http://0x7f000001:{port}/v1",
        "http://0177.0.0.1:{port}/v1",
        "http://0:{port}/v1",
        "http://[::1]:{port}/v1",
        "http://[::ffff:127.0.0.1]:{port}/v1",
        "http://169.254.169.254/latest/meta-data",
        "http://[fd00:ec2::254]/latest/meta-data",
        "http://metadata.google.internal/computeMetadata/v1",
        "http://127.0.0.1:{port}@169.254.169.254/v1",
        "https://api.openai.com:8443/v1",
        "http://api.openai.com/v1",
        "https://api.openai.com.evil.example/v1",
        "file:///etc/passwd",
        "not a url",
    ],
)
def test_a_base_url_into_the_operators_network_is_refused_and_no_request_leaves(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str, url: str
) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "base-url": url.format(port=provider.port)}
    status, error = refusal(http.post("chat/completions", json=ask(), headers=headers))
    assert (status, error["param"]) == (400, "base-url")
    assert provider.received(tag) == []


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[tuple[str, list[bytes]]]:
    """A URL in the operator's network, and what was sent there."""
    received: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                received.append(connection.recv(65536))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/inside", received
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [302, 307])
@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o",
        "azure/gpt-4o",
        "anthropic/claude-sonnet-4-5",
        "cohere/command-r",
        "databricks/dbrx",
        "gemini/gemini-2.5-pro",
        "groq/llama-3",
        "mistral/mistral-small",
        "openrouter/auto",
    ],
)
def test_a_redirect_is_not_followed(
    http: httpx.Client,
    provider: ProviderProcess,
    tag: str,
    elsewhere: tuple[str, list[bytes]],
    model: str,
    status: int,
    stream: bool,
) -> None:
    inside, received = elsewhere
    turn = {"raw": "", "status": status, "headers": {"location": inside}}
    content = "script: " + json.dumps({"tag": tag, "turns": [turn]})
    messages = [{"role": "user", "content": content}]
    body = {"model": model, "messages": messages, "max_tokens": 9, "stream": stream}
    headers = {"Authorization": f"Bearer {KEY}", "base-url": provider.url}
    refused, error = refusal(http.post("chat/completions", json=body, headers=headers))
    assert received == []
    assert refused == 400 or (stream and refused == 200)
    assert (error["param"], "redirects" in error["message"]) == ("base-url", True)


def test_a_credentials_file_is_the_tenants_own_and_of_purpose_auth(http: httpx.Client, ask: Ask) -> None:
    def upload(content: object, purpose: str = "auth") -> str:
        files = {"file": ("key.json", json.dumps(content))}
        made = http.post("files", data={"purpose": purpose}, files=files)
        assert made.status_code == 200, made.text
        return str(made.json()["id"])

    def run(file: str, **headers: str) -> tuple[int, str, str]:
        sent = {"google-application-credentials-file-id": file, **headers}
        status, error = refusal(
            http.post("chat/completions", json=ask("vertex_ai/gemini-2.5-pro"), headers=sent)
        )
        assert error["param"] == "google-application-credentials-file-id"
        return status, error["code"] or "", error["message"]

    account = {"type": "external_account", "credential_source": {"file": "/etc/passwd"}}
    assert run(upload(account))[:2] == (400, "invalid_header")
    assert "purpose" in run(upload({}, "assistants"))[2]
    theirs = {"astra-api-token": "AstraCS:theirs:0123456789abcdef"}
    assert run(upload(account), **theirs)[0] == 404
    assert run("file-of-nobody")[0] == 404


def test_googles_credentials_lead_to_google_alone() -> None:
    account = {"client_email": "a@b", "private_key": "k", "private_key_id": "i", "project_id": "p"}
    given = {"type": "service_account", **account, "token_uri": "http://169.254.169.254/", "extra": 1}
    kept = json.loads(google_credentials(json.dumps(given).encode()))
    assert kept == {"type": "service_account", **account, "token_uri": "https://oauth2.googleapis.com/token"}
    for content in (b"", b"[]", b'{"type": "service_account"}', b'{"type": ["x"]}'):
        with pytest.raises(ValueError, match="it"):
            google_credentials(content)


def test_no_secret_of_a_caller_is_logged(astra: Server, http: httpx.Client, ask: Ask) -> None:
    headers = {"api-key": KEY, "LLM-PARAM-api-key": KEY, "base-url": f"http://{KEY}.example"}
    assert http.post("chat/completions", json=ask(), headers=headers).status_code == 400
    assert KEY not in astra.log.read_text()


# --- work in the background ---

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
