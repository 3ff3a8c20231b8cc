"""ASTROLABE_AUTH=astra against a live server of two workers."""

import json
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from serving.errors import SettingsRefused
from serving.settings import Settings
from tests.provider import ProviderProcess
from tests.server import Server

pytestmark = pytest.mark.server

OURS = "AstraCS:ours:0123456789abcdef"
THEIRS = "AstraCS:theirs:0123456789abcdef"


@pytest.fixture(scope="module")
def astra(tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("astra")
    models = {"OPENAI_API_KEY": "sk-the-operators-own-key", "OPENAI_BASE_URL": provider.url}
    with Server(folder, ASTROLABE_AUTH="astra", **models) as server:
        yield server


def ask(server: Server, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.request(method, f"{server.url}/{path}", headers=sent, json=body, timeout=30)


def error_of(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return answer.status_code, error["message"], error["code"]


def test_each_token_opens_a_project_of_its_own(astra: Server) -> None:
    made = ask(astra, "POST", "assistants", {"model": "m"}, astra_api_token=OURS).json()
    path = f"assistants/{made['id']}"
    for _ in range(8):  # both workers
        assert ask(astra, "GET", path, astra_api_token=OURS).status_code == 200
        assert ask(astra, "GET", path, astra_api_token=THEIRS).status_code == 404
    assert ask(astra, "GET", "assistants", astra_api_token=THEIRS).json()["data"] == []
    assert ask(astra, "DELETE", path, astra_api_token=THEIRS).status_code == 404


def test_without_a_token_a_request_is_refused_whatever_its_key(astra: Server) -> None:
    status, message, code = error_of(ask(astra, "GET", "assistants", authorization="Bearer sk-any"))
    assert (status, code) == (403, "missing_token")
    assert "astra-api-token" in message
    assert ask(astra, "GET", "health").json() == {"status": "alive"}


@pytest.mark.parametrize("token", ["two words", "tab\there", "\u00e9\u00e8", "x" * 1025, "x" * 60_000])
def test_what_is_no_token_is_refused_by_the_headers_name_and_not_shown(astra: Server, token: str) -> None:
    headers = {"astra-api-token": token.encode("utf-8")}
    answer = httpx.get(f"{astra.url}/assistants", headers=headers)
    status, message, code = error_of(answer)
    assert (status, code) == (401, "invalid_api_key")
    assert "astra-api-token" in message
    assert token not in answer.text


@pytest.mark.parametrize("database", ["../x", "a b", "x" * 65, "x" * 60_000])
def test_what_is_no_database_id_is_refused_by_the_headers_name(astra: Server, database: str) -> None:
    status, message, code = error_of(
        ask(astra, "GET", "assistants", astra_api_token=OURS, astra_db_id=database)
    )
    assert (status, code) == (400, "invalid_header")
    assert "astra-db-id" in message


@pytest.mark.parametrize(
    "name", ["astra-api-token", "astra-db-id", "base-url", "LLM-PARAM-top-k", "OpenAI-Beta"]
)
def test_a_header_that_chooses_tenant_or_provider_may_be_sent_once_only(astra: Server, name: str) -> None:
    sent = [("astra-api-token", OURS), (name, OURS), (name, THEIRS)]
    status, message, code = error_of(httpx.get(f"{astra.url}/files", headers=sent))
    assert (status, code) == (400, "repeated_header")
    assert name.lower() in message


def test_the_token_is_in_no_log_metric_or_file(astra: Server) -> None:
    ask(astra, "POST", "threads", {"messages": [{"role": "user", "content": "x"}]}, astra_api_token=OURS)
    ask(astra, "GET", "nothing", astra_api_token=OURS)
    assert OURS not in httpx.get(f"{astra.root}/metrics").text
    written = [path for path in astra.folder.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if OURS.encode() in path.read_bytes()]


def test_tokens_that_nobody_checks_need_the_operators_word_to_listen_on_the_network() -> None:
    with pytest.raises(SettingsRefused, match=r"HOST=0\.0\.0\.0: ASTROLABE_AUTH=astra"):
        Settings.read(HOST="0.0.0.0", ASTROLABE_AUTH="astra")
    assert Settings.read(HOST="0.0.0.0", ASTROLABE_AUTH="astra", ASTROLABE_ALLOW_OPEN="true").allow_open


def test_a_caller_without_a_token_may_ask_models_but_store_nothing(astra: Server) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    key = {"authorization": "Bearer sk-the-callers-own-key"}
    file = {**key, "google_application_credentials_file_id": "file-1"}
    for sent, headers in (({**body, "store": True}, key), (body, file)):
        status, message, code = error_of(ask(astra, "POST", "chat/completions", sent, **headers))
        assert (status, code) == (403, "missing_token")
        assert "astra-api-token" in message


@pytest.mark.parametrize(
    ("prefix", "beta", "version"),
    [
        ("v1", None, 1),
        ("v1", "assistants=v1", 1),
        ("v1", "assistants=v2", 2),
        ("v2", None, 2),
        ("v2", "assistants=v1", 1),
        ("v2", "assistants=v2", 2),
    ],
)
def test_the_version_is_that_of_the_header_and_without_one_that_of_the_path(
    astra: Server, prefix: str, beta: str | None, version: int
) -> None:
    headers = {"astra-api-token": OURS, **({"OpenAI-Beta": beta} if beta else {})}
    url = f"{astra.url.removesuffix('/v1')}/{prefix}/assistants"
    made = httpx.post(url, headers=headers, json={"model": "m"}, timeout=30).json()
    assert ("file_ids" in made, "tool_resources" in made) == (version == 1, version == 2)
    assert httpx.get(f"{url}/{made['id']}", headers=headers).json() == made


@pytest.mark.parametrize("beta", ["assistants=v3", "assistants=v1, assistants=v2", "x" * 60_000])
def test_another_version_is_refused_on_the_paths_of_the_assistants_api_only(astra: Server, beta: str) -> None:
    headers = {"astra-api-token": OURS, "OpenAI-Beta": beta}
    status, message, code = error_of(httpx.get(f"{astra.url}/threads/thread_1", headers=headers))
    assert (status, code) == (400, "invalid_header")
    assert "OpenAI-Beta" in message
    assert httpx.get(f"{astra.url}/files", headers=headers).status_code == 200


RUN = {"assistant_id": "asst_none"}
V2_MESSAGE = {"role": "user", "content": "x", "attachments": []}
V1_MESSAGE = {"role": "user", "content": "x", "file_ids": []}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("assistants", {"model": "m", "tool_resources": {}}, "tool_resources"),
        ("assistants", {"model": "m", "tools": [{"type": "file_search"}]}, "tools[0].type"),
        ("assistants/asst_none", {"top_p": 1}, "top_p"),
        ("threads", {"tool_resources": {}}, "tool_resources"),
        ("threads", {"messages": [V2_MESSAGE]}, "messages[0].attachments"),
        ("threads/thread_none", {"tool_resources": {}}, "tool_resources"),
        ("threads/thread_none/messages", V2_MESSAGE, "attachments"),
        ("threads/thread_none/messages/msg_none", {"attachments": []}, "attachments"),
        ("threads/thread_none/runs", {**RUN, "parallel_tool_calls": True}, "parallel_tool_calls"),
        ("threads/runs", {**RUN, "tool_resources": {}}, "tool_resources"),
        ("threads/runs", {**RUN, "top_p": 1}, "top_p"),
        ("threads/runs", {**RUN, "thread": {"tool_resources": {}}}, "thread.tool_resources"),
        ("threads/runs", {**RUN, "thread": {"messages": [V2_MESSAGE]}}, "thread.messages[0].attachments"),
    ],
)
def test_a_field_of_version_2_is_refused_by_name_in_version_1(
    astra: Server, path: str, body: dict[str, object], field: str
) -> None:
    answer = ask(astra, "POST", path, body, astra_api_token=OURS)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("assistants", {"model": "m", "file_ids": []}, "file_ids"),
        ("assistants", {"model": "m", "tools": [{"type": "retrieval"}]}, "tools[0].type"),
        ("assistants/asst_none", {"file_ids": []}, "file_ids"),
        ("threads", {"file_ids": []}, "file_ids"),
        ("threads", {"messages": [V1_MESSAGE]}, "messages[0].file_ids"),
        ("threads/thread_none/messages", V1_MESSAGE, "file_ids"),
        ("threads/thread_none/messages/msg_none", {"file_ids": []}, "file_ids"),
        ("threads/thread_none/runs", {**RUN, "file_ids": []}, "file_ids"),
        ("threads/runs", {**RUN, "file_ids": []}, "file_ids"),
        ("threads/runs", {**RUN, "thread": {"messages": [V1_MESSAGE]}}, "thread.messages[0].file_ids"),
    ],
)
def test_a_field_of_version_1_is_refused_by_name_in_version_2(
    astra: Server, path: str, body: dict[str, object], field: str
) -> None:
    answer = ask(astra, "POST", path, body, astra_api_token=OURS, openai_beta="assistants=v2")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


def test_other_fields_that_the_spec_does_not_know_make_a_thread_all_the_same(astra: Server) -> None:
    body = {"id": "thread_own", "object": "thread", "created_at": 1, "metadata": {"a": "b"}}
    for beta in ("assistants=v1", "assistants=v2"):
        made = ask(astra, "POST", "threads", body, astra_api_token=OURS, openai_beta=beta)
        assert (made.status_code, made.json()["metadata"]) == (200, {"a": "b"})


@pytest.mark.parametrize("count", [1, 200_000], ids=["checked in the worker", "checked in a process"])
def test_a_body_of_many_values_is_checked_by_the_rules_of_this_mode(astra: Server, count: int) -> None:
    body = {"assistant_id": "asst_none", "unknown": [100_000] * count}
    status, message, _ = error_of(ask(astra, "POST", "threads/runs", body, astra_api_token=OURS))
    assert (status, "asst_none" in message) == (404, True)


def test_a_websocket_asks_with_the_callers_provider_and_key(
    astra: Server, provider: ProviderProcess, tag: str
) -> None:
    url = f"{astra.root.replace('http', 'ws')}/v2/responses"
    script = "script: " + json.dumps({"tag": tag, "turns": [{"text": "ours"}]})
    headers = {"astra-api-token": OURS, "Authorization": "Bearer sk-the-callers-own"}
    with connect(url, additional_headers=headers) as client:
        client.send(json.dumps({"type": "response.create", "model": "gpt-4o", "input": script}))
        event = json.loads(client.recv(timeout=20))
        while event["type"] not in ("response.completed", "error"):
            event = json.loads(client.recv(timeout=20))
    assert event["type"] == "response.completed", event
    [asked] = provider.received(tag)
    assert asked["headers"]["authorization"] == "Bearer sk-the-callers-own"
    path = f"responses/{event['response']['id']}"
    assert ask(astra, "GET", path, astra_api_token=OURS).status_code == 200
    assert ask(astra, "GET", path, astra_api_token=THEIRS).status_code == 404
    with pytest.raises(InvalidStatus) as refused, connect(url):
        pass
    assert refused.value.response.status_code == 403
