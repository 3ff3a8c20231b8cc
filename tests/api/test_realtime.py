"""The Realtime API: the WebSocket through OpenAI's SDK and by hand, and its operations over HTTP."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.fixtures.clients import OPERATORS_KEY
from tests.provider import ProviderProcess
from tests.provider.realtime import RealtimeProvider
from tests.server import Server, until

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def realtime() -> Iterator[RealtimeProvider]:
    with RealtimeProvider() as provider:
        yield provider


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, realtime: RealtimeProvider, provider: ProviderProcess
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("realtime")
    models = folder / "models.yaml"
    models.write_text(
        f"""providers:
  voices: {{base_url: '{realtime.url}', api_key: '${{PROVIDER_KEY}}', retries: 0}}
  http: {{base_url: '{provider.url}', api_key: '${{PROVIDER_KEY}}', retries: 0}}
  closed: {{base_url: 'http://127.0.0.1:9/v1', api_key: '${{PROVIDER_KEY}}', retries: 0}}
  claude: {{wire: litellm, api_key: '${{PROVIDER_KEY}}'}}
models:
  voice: {{provider: voices, model: gpt-realtime}}
  refused: {{provider: voices}}
  moved: {{provider: voices}}
  odd: {{provider: voices}}
  unreachable: {{provider: closed}}
  claude: {{provider: claude, model: anthropic/claude}}
  gpt-realtime: {{provider: http}}
  gpt-4o-transcribe: {{provider: http}}
"""
    )
    environment = {"ASTROLABE_MODELS": str(models), "ASTROLABE_AUTH": "keys"}
    with Server(folder, PROVIDER_KEY=OPERATORS_KEY, **environment) as server:
        yield server


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    made = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "serving.cli", "keys", "create", "--project", "one"],
        env=server.environment, cwd=server.folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return made.stdout.strip()


@pytest.fixture(scope="module")
def client(server: Server, key: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.url, api_key=key, max_retries=0, timeout=60) as client:
        yield client


def opened(server: Server, key: str, query: str = "model=voice", **options: Any) -> ClientConnection:
    headers = {"Authorization": f"Bearer {key}", "OpenAI-Beta": "realtime=v1"}
    url = f"{server.url.replace('http', 'ws')}/realtime?{query}"
    return connect(url, additional_headers=headers, max_size=None, **options)


@pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")  # the SDK's own use of websockets
def test_the_sdk_talks_to_the_provider(client: OpenAI) -> None:
    with client.realtime.connect(model="voice") as connection:
        created = connection.recv()
        assert created.type == "session.created"
        connection.response.create()
        said = []
        for event in connection:
            if event.type == "response.done":
                break
            said.append(event.delta)  # type: ignore[union-attr]
        assert "".join(said) == "It is sunny."


def test_the_provider_gets_its_own_model_and_key(server: Server, key: str) -> None:
    with opened(server, key) as connection:
        text = connection.recv()
        assert OPERATORS_KEY not in text  # type: ignore[operator]
        session = json.loads(text)["session"]
    headers = {name.lower(): value for name, value in session["headers"].items()}
    assert session["path"] == "/v1/realtime?model=gpt-realtime"
    assert headers["authorization"] == "Bearer ***"
    assert headers["openai-beta"] == "realtime=v1"
    assert key not in str(headers)


def test_messages_are_relayed_both_ways_as_they_are(server: Server, key: str) -> None:
    with opened(server, key) as connection:
        connection.recv()
        message = '{"type":  "input_audio_buffer.append", "audio": "%s"}' % ("é" * 3_000_000)
        connection.send(message)
        assert connection.recv() == message
        connection.send(b"\x00\xff")
        assert connection.recv() == b"\x00\xff"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("model=none", 404, "model_not_found"),
        ("model=refused", 401, "bad_key"),
        ("model=moved", 502, None),
        ("model=odd", 502, None),
        ("model=unreachable", 502, None),
        ("model=claude", 501, "not_implemented"),
        ("", 400, "missing_parameter"),
        ("model=voice&x=1", 400, "unknown_parameter"),
        ("call_id=rtc_none", 404, "not_found"),
    ],
)
def test_a_connection_that_cannot_be_opened_is_refused(
    server: Server, key: str, query: str, status: int, code: str | None
) -> None:
    with pytest.raises(InvalidStatus) as caught:
        opened(server, key, query)
    response = caught.value.response
    error = json.loads(response.body or b"")["error"]
    assert (response.status_code, error["code"]) == (status, code), error
    assert OPERATORS_KEY not in str(error)
    assert '"level":"error"' not in server.log.read_text()


def test_a_wrong_key_is_refused(server: Server) -> None:
    with pytest.raises(InvalidStatus) as caught:
        opened(server, "sk-wrong")
    assert caught.value.response.status_code == 401


def test_a_browser_may_send_its_key_as_a_subprotocol(server: Server, key: str) -> None:
    offered = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{key}")]
    url = f"{server.url.replace('http', 'ws')}/realtime?model=voice"
    with connect(url, subprotocols=offered) as connection:
        assert connection.subprotocol == "realtime"
        assert json.loads(connection.recv())["type"] == "session.created"


def test_the_providers_close_goes_to_the_client(server: Server, key: str) -> None:
    with opened(server, key) as connection:
        connection.recv()
        connection.send(json.dumps({"type": "test.close", "code": 4001, "reason": f"Bye {OPERATORS_KEY}"}))
        with pytest.raises(ConnectionClosed):
            connection.recv()
        assert (connection.close_code, connection.close_reason) == (4001, "Bye ***")


def test_a_provider_that_breaks_is_an_error_and_a_close(server: Server, key: str) -> None:
    with opened(server, key) as connection:
        connection.recv()
        connection.send(json.dumps({"type": "test.abort"}))
        error = json.loads(connection.recv())
        assert (error["type"], error["error"]["type"]) == ("error", "server_error")
        with pytest.raises(ConnectionClosed):
            connection.recv()
        assert connection.close_code == 1011


def test_the_clients_close_goes_to_the_provider(server: Server, key: str, realtime: RealtimeProvider) -> None:
    with opened(server, key) as connection:
        connection.recv()
        connection.close(4002)
    until(lambda: any(code == 4002 for code, _ in realtime.closed), seconds=5)


def test_a_client_that_does_not_read_stops_the_provider(
    server: Server, key: str, realtime: RealtimeProvider
) -> None:
    with opened(server, key, max_queue=1, compression=None) as connection:
        connection.recv()
        before, memory = realtime.sent, resident(server)
        connection.send(json.dumps({"type": "test.send", "size": 1_000_000, "count": 300}))
        seen = -1
        while seen != realtime.sent:
            seen = realtime.sent
            time.sleep(0.5)
        assert realtime.sent - before < 100
        assert resident(server) - memory < 64_000_000
        for _ in range(300):
            assert json.loads(connection.recv())["type"] == "test.sent"


def resident(server: Server) -> int:
    return sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) * 4096 for one in server.workers())


def test_many_connections_leave_no_socket_open(server: Server, key: str) -> None:
    before = sockets(server)
    with ExitStack() as stack:
        connections = [stack.enter_context(opened(server, key)) for _ in range(20)]
        for index, connection in enumerate(connections):
            connection.recv()
            if index % 2:
                connection.socket.close()
    until(lambda: sockets(server) <= before, seconds=10)


def sockets(server: Server) -> int:
    found = 0
    for worker in server.workers():
        for path in Path(f"/proc/{worker}/fd").iterdir():
            try:
                found += str(path.readlink()).startswith("socket:")
            except FileNotFoundError:
                continue
    return found


# --- HTTP ---


def test_a_secret_is_the_providers(client: OpenAI, provider: ProviderProcess) -> None:
    secret = client.realtime.client_secrets.create(session={"type": "realtime", "instructions": "Be brief."})
    assert secret.value == "ek_fake"
    asked = provider.received("POST:/v1/realtime/client_secrets")[-1]["body"]
    assert asked == {"session": {"type": "realtime", "instructions": "Be brief.", "model": "gpt-realtime"}}
    assert client.realtime.client_secrets.create().value == "ek_fake"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("sessions", {"model": "gpt-realtime", "modalities": ["text"]}),
        ("transcription_sessions", {"input_audio_transcription": {"model": "gpt-4o-transcribe"}}),
        ("translations/client_secrets", {"session": {"model": "gpt-realtime"}}),
    ],
)
def test_sessions_are_the_providers(
    server: Server, key: str, provider: ProviderProcess, path: str, body: dict[str, Any]
) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx.post(f"{server.url}/realtime/{path}", json=body, headers=headers)
    assert (answer.status_code, answer.json().get("value")) == (200, "ek_fake"), answer.text
    assert provider.received(f"POST:/v1/realtime/{path}")[-1]["body"] == body


def test_a_secret_of_a_transcription_names_its_model(client: OpenAI, provider: ProviderProcess) -> None:
    audio: Any = {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}
    client.realtime.client_secrets.create(session={"type": "transcription", "audio": audio})
    asked = provider.received("POST:/v1/realtime/client_secrets")[-1]["body"]
    assert asked == {"session": {"type": "transcription", "audio": audio}}


def test_a_call_belongs_to_its_project(server: Server, client: OpenAI, provider: ProviderProcess) -> None:
    call = client.realtime.calls.create(sdp="v=0", session={"type": "realtime"})
    assert call.read() == b"v=0 answer"
    id = call.response.headers["location"].rpartition("/")[2]
    client.realtime.calls.refer(id, target_uri="tel:+1")
    client.realtime.calls.hangup(id)
    with pytest.raises(openai.NotFoundError):
        client.realtime.calls.hangup("rtc_unknown")
    client.realtime.calls.accept("rtc_incoming", type="realtime")
    client.realtime.calls.hangup("rtc_incoming")
    client.realtime.calls.reject("rtc_other")
    assert provider.received("POST:/v1/realtime/calls/rtc_other/reject")


@pytest.mark.parametrize("id", ["%2e%2e", "a%2Fb", "a%0Ab", "x" * 300])
def test_a_call_that_cannot_be_one_is_not_asked_for(server: Server, key: str, id: str) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    for action, body in ("accept", {"type": "realtime"}), ("reject", {"status_code": 486}):
        answer = httpx.post(f"{server.url}/realtime/calls/{id}/{action}", json=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_an_offer_may_be_the_whole_body(server: Server, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/sdp"}
    answer = httpx.post(f"{server.url}/realtime/calls", content="v=0", headers=headers)
    assert (answer.status_code, answer.text) == (201, "v=0 answer")
    assert answer.headers["content-type"] == "application/sdp"
