"""WebSockets on /v1/responses against a live server of two workers, with a real client."""

import base64
import json
import os
import secrets
import signal
import socket
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect

from tests.fixtures.nginx import running_nginx
from tests.provider import ProviderProcess
from tests.server import ROOT, Server, command, until

pytestmark = pytest.mark.server

GUNICORN = (sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"))
COMMAND = (*GUNICORN, "tests.serving.scripted_responses:app")
TERMINAL = {"response.completed", "response.failed", "error"}
MAX_BODY = 400_000


def scripted_server(folder: Path, provider: ProviderProcess, **environment: str) -> Server:
    models = {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": provider.url}
    return Server(folder, command=COMMAND, **models, **environment)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess) -> Iterator[Server]:
    limits = {"ASTROLABE_MAX_BODY": str(MAX_BODY), "ASTROLABE_KEEP_ALIVE": "1"}
    limits |= {"ASTROLABE_BODY_TIMEOUT": "1", "ASTROLABE_SEND_TIMEOUT": "1"}
    with scripted_server(tmp_path_factory.mktemp("sockets"), provider, **limits) as server:
        yield server


def opened(
    server: Server, path: str = "responses", **options: Any
) -> AbstractContextManager[ClientConnection]:
    return connect(f"{server.url.replace('http', 'ws')}/{path}", **options)


def create(**members: Any) -> str:
    """A message that asks for a response; what the scripted handler knows becomes its input."""
    script = {
        name: members.pop(name) for name in ("deltas", "wait", "text", "fail", "tag") if name in members
    }
    return json.dumps({"type": "response.create", "model": "m", "input": json.dumps(script), **members})


def received(client: ClientConnection) -> list[dict]:
    """The events up to the end of a response or an error."""
    events = [json.loads(client.recv(timeout=20))]
    while events[-1]["type"] not in TERMINAL:
        events.append(json.loads(client.recv(timeout=20)))
    return events


def answer(client: ClientConnection, message: str | bytes) -> dict:
    client.send(message)
    return received(client)[-1]


def closed(client: ClientConnection) -> tuple[list[dict], int | None]:
    """The events up to the end of the connection, and its close code."""
    events = []
    try:
        while True:
            events.append(json.loads(client.recv(timeout=20)))
    except ConnectionClosed as exc:
        return events, exc.rcvd.code if exc.rcvd else None


def handshake(server: Server, path: str = "/v1/responses", **headers: str | None) -> dict[str, str]:
    fields = {
        "Host": f"127.0.0.1:{server.port}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": base64.b64encode(secrets.token_bytes(16)).decode(),
        "Sec-WebSocket-Version": "13",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    return {"": f"GET {path} HTTP/1.1"} | {name: value for name, value in fields.items() if value is not None}


def raw(server: Server, fields: dict[str, str], rest: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    first, *lines = (f"{name}: {value}".removeprefix(": ") for name, value in fields.items())
    client.sendall("\r\n".join((first, *lines, "", "")).encode() + rest)
    return client


# --- responses ---


def test_each_event_of_a_response_is_one_text_frame(server: Server) -> None:
    with opened(server) as client:
        client.send(create(deltas=2, metadata={"a": "b"}, stream=False, background=False))
        events = received(client)
    assert [one["type"] for one in events] == [
        "response.created",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.completed",
    ]
    assert [one["sequence_number"] for one in events] == [0, 1, 2, 3]
    assert events[0]["response"]["metadata"] == {"a": "b"}
    assert not any("stream_id" in one for one in events)


def test_many_responses_follow_one_another_on_a_connection(server: Server) -> None:
    with opened(server) as client:
        assert len({answer(client, create())["response"]["id"] for _ in range(20)}) == 20


@pytest.mark.parametrize("length", [100, 100_000])
@pytest.mark.parametrize("compression", ["deflate", None])
def test_messages_of_any_length_pass_compressed_or_not(
    server: Server, compression: str | None, length: int
) -> None:
    with opened(server, compression=compression, max_size=None) as client:
        text = secrets.token_hex(length)
        client.send(create(text=text))
        assert [one["delta"] for one in received(client) if "delta" in one] == [text]


def test_fragments_are_joined(server: Server) -> None:
    with opened(server) as client:
        text = create(text="joined")
        client.send(text[index : index + 7] for index in range(0, len(text), 7))
        assert received(client)[1]["delta"] == "joined"


def test_a_message_may_come_with_the_handshake(server: Server) -> None:
    frame = Frame(Opcode.TEXT, create(text="early").encode()).serialize(mask=True)
    with raw(server, handshake(server), frame) as client:
        text = b""
        while b"response.completed" not in text:
            text += client.recv(65536)
    assert text.startswith(b"HTTP/1.1 101 ")
    assert b"early" in text


def test_a_connection_that_served_requests_becomes_a_websocket(server: Server) -> None:
    head = b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(head)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        first, *lines = (f"{k}: {v}".removeprefix(": ") for k, v in handshake(server).items())
        client.sendall("\r\n".join((first, *lines, "", "")).encode())
        assert client.recv(65536).startswith(b"HTTP/1.1 101 ")


# --- lanes ---


def test_a_lane_answers_in_order_and_lanes_run_at_the_same_time(server: Server) -> None:
    with opened(server) as client:
        client.send(create(stream_id="slow", text="1", deltas=3, wait=0.2))
        client.send(create(stream_id="slow", text="2"))
        client.send(create(stream_id="quick", text="3"))
        events = [one for _ in range(3) for one in received(client)]
    assert {one["stream_id"] for one in events} == {"slow", "quick"}
    ends = [one["stream_id"] for one in events if one["type"] == "response.completed"]
    assert ends == ["quick", "slow", "slow"]
    assert [one["delta"] for one in events if "delta" in one and one["stream_id"] == "slow"] == [*"1112"]


def test_a_thousand_messages_at_once_are_answered_in_order(server: Server) -> None:
    with opened(server) as client:
        sending = threading.Thread(target=lambda: [client.send(create(text=str(one))) for one in range(1000)])
        sending.start()
        texts = [one["delta"] for _ in range(1000) for one in received(client) if "delta" in one]
        sending.join()
    assert texts == [str(one) for one in range(1000)]


def test_a_connection_has_thirty_two_named_lanes(server: Server) -> None:
    with opened(server) as client:
        for number in range(32):
            assert answer(client, create(stream_id=f"lane_{number}"))["type"] == "response.completed"
        refused = answer(client, create(stream_id="lane_32"))
        assert (refused["status"], refused["stream_id"]) == (400, "lane_32")
        assert refused["error"]["code"] == "websocket_stream_limit_reached"
        assert answer(client, create(stream_id="lane_0"))["type"] == "response.completed"
        assert answer(client, create())["type"] == "response.completed"


# --- chains ---


def test_a_chain_continues_on_its_connection_only(server: Server) -> None:
    with opened(server) as client, opened(server) as other:
        first = answer(client, create(store=False))["response"]["id"]
        refused = answer(other, create(store=False, previous_response_id=first))
        assert refused["error"]["code"] == "previous_response_not_found"
        assert answer(client, create(store=False, previous_response_id=first))["type"] == "response.completed"


@pytest.mark.parametrize("failure", [{}, {"deltas": 1}])
def test_a_response_that_failed_to_be_continued_is_forgotten(server: Server, failure: dict) -> None:
    with opened(server) as client:
        first = answer(client, create(store=False))["response"]["id"]
        chained = {"store": False, "previous_response_id": first}
        assert answer(client, create(fail="as asked", **failure, **chained))["type"] == "error"
        assert answer(client, create(**chained))["error"]["code"] == "previous_response_not_found"


# --- errors ---


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("{", "invalid_request_error", None),
        ("[]", "invalid_type", None),
        ("\x00", "invalid_request_error", None),
        (b"bytes", "invalid_request_error", None),
        ('{"model": "m"}', "invalid_value", "type"),
        ('{"type": "response.cancel"}', "invalid_value", "type"),
        (create(model=5), "invalid_type", "model"),
        (create(nonsense=5), "unknown_parameter", "nonsense"),
        (create(background=True), "unsupported_parameter", "background"),
        (create(stream_id=""), "invalid_stream_id", "stream_id"),
        (create(stream_id="a b"), "invalid_stream_id", "stream_id"),
        (create(stream_id=5), "invalid_stream_id", "stream_id"),
        (create(fail="as asked"), "asked_for", None),
    ],
)
def test_an_error_is_an_event_and_leaves_the_connection_open(
    server: Server, message: str | bytes, code: str, param: str | None
) -> None:
    with opened(server) as client:
        event = answer(client, message)
        assert (event["type"], event["status"]) == ("error", 400)
        assert (event["error"]["code"], event["error"]["param"]) == (code, param)
        assert event["error"]["type"] == "invalid_request_error"
        assert answer(client, create())["type"] == "response.completed"


def test_an_error_names_its_lane(server: Server) -> None:
    with opened(server) as client:
        assert answer(client, create(stream_id="a", model=5))["stream_id"] == "a"
        assert answer(client, create(stream_id="a", fail="as asked"))["stream_id"] == "a"


def test_an_error_waits_for_the_response_ahead_of_it(server: Server) -> None:
    with opened(server) as client:
        client.send(create(stream_id="a", deltas=3, wait=0.1))
        client.send(create(stream_id="a", model=5))
        client.send(create(stream_id="b", model=5))
        client.send(create(stream_id="a"))
        ends = [received(client)[-1] for _ in range(4)]
    shown = [(one["stream_id"], one["type"]) for one in ends]
    assert shown == [("b", "error"), ("a", "response.completed"), ("a", "error"), ("a", "response.completed")]


def test_an_error_after_the_first_event_is_an_event(server: Server) -> None:
    with opened(server) as client:
        client.send(create(stream_id="a", deltas=1, fail="a bug"))
        created, _, failed = received(client)
    assert created["type"] == "response.created"
    assert (failed["status"], failed["stream_id"], failed["error"]["type"]) == (500, "a", "server_error")
    assert "a bug" not in str(failed)


def test_what_codex_says_about_a_response_it_has_read_is_not_answered(server: Server) -> None:
    with opened(server) as client:
        client.send(json.dumps({"type": "response.processed", "response_id": "resp_1"}))
        assert answer(client, create())["type"] == "response.completed"


# --- bounds ---


def test_a_message_over_the_limit_ends_the_connection(server: Server) -> None:
    with opened(server, compression=None) as client:
        client.send(create(text="x" * 100_000_000))
        events, code = closed(client)
    assert code == 1009
    assert [one["status"] for one in events] == [413]
    assert events[0]["error"]["code"] == "request_too_large"


def test_fragments_over_the_limit_end_the_connection(server: Server) -> None:
    with opened(server, compression=None) as client:
        client.send("x" * 50_000 for _ in range(20))
        events, code = closed(client)
    assert (code, [one["status"] for one in events]) == (1009, [413])


def test_compression_does_not_hide_a_message_over_the_limit(server: Server) -> None:
    compressor = zlib.compressobj(wbits=-15)
    packed = compressor.compress(b"x" * 100_000_000) + compressor.flush(zlib.Z_SYNC_FLUSH)
    frame = bytearray(Frame(Opcode.TEXT, packed[:-4]).serialize(mask=True))
    frame[0] |= 0x40  # compressed
    fields = handshake(server, Sec_WebSocket_Extensions="permessage-deflate")
    with raw(server, fields, bytes(frame)) as client:
        text = b"".join(iter(lambda: client.recv(65536), b""))
    assert b"request_too_large" in text
    assert (1009).to_bytes(2, "big") in text


@pytest.mark.parametrize("cut", [3, 20])
def test_half_a_frame_is_waited_for_within_the_time_of_a_body(server: Server, cut: int) -> None:
    frame = Frame(Opcode.TEXT, create().encode()).serialize(mask=True)
    with raw(server, handshake(server), frame[:cut]) as client:
        text = b"".join(iter(lambda: client.recv(65536), b""))
    assert b"request_timeout" in text
    assert (1008).to_bytes(2, "big") in text


def test_a_connection_without_messages_stays_open_and_gets_pings(server: Server) -> None:
    with raw(server, handshake(server)) as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 101 ")
        for _ in range(3):
            assert client.recv(65536)[0] == 0x80 | Opcode.PING


def test_a_client_that_reads_nothing_is_disconnected(server: Server, tag: str) -> None:
    frame = Frame(Opcode.TEXT, create(tag=tag, deltas=1_000_000, text="x" * 10_000).encode())
    with raw(server, handshake(server), frame.serialize(mask=True)) as client:
        until(lambda: ended(server, tag) == "interrupted", seconds=20)
        with suppress(ConnectionResetError):
            while client.recv(1_000_000):
                pass


def test_pings_without_end_of_a_client_that_reads_nothing_are_not_answered(server: Server) -> None:
    pings = Frame(Opcode.PING, b"x" * 125).serialize(mask=True) * 10_000
    with raw(server, handshake(server)) as client, pytest.raises(OSError):
        for _ in range(1000):
            client.sendall(pings)


def test_text_that_is_not_utf8_ends_the_connection_and_is_not_logged(server: Server) -> None:
    before = len(server.log.read_text())
    frames = [Frame(Opcode.TEXT, b"\xff"), Frame(Opcode.PING, b"and a ping")]
    with raw(server, handshake(server), b"".join(one.serialize(mask=True) for one in frames)) as client:
        text = b"".join(iter(lambda: client.recv(65536), b""))
    assert (1007).to_bytes(2, "big") in text
    assert "exception" not in server.log.read_text()[before:]


def test_a_connection_that_is_lost_with_messages_unread_logs_no_error(server: Server) -> None:
    before = len(server.log.read_text())
    frames = Frame(Opcode.TEXT, create(deltas=3, wait=0.1).encode()).serialize(mask=True) * 500
    for cut in range(5):
        with raw(server, handshake(server), frames[:-cut] if cut else frames) as client:
            client.recv(100)
    until(lambda: server.log.read_text()[before:].count('"connectResponses"') >= 5, seconds=20)
    assert "exception" not in server.log.read_text()[before:]


def test_what_breaks_the_protocol_ends_the_connection(server: Server) -> None:
    for broken in (b"\x81\x05hello", b"\xff\xff\xff\xff\xff\xff", b"\x80\x80aaaa"):
        with raw(server, handshake(server), broken) as client:
            text = b"".join(iter(lambda: client.recv(65536), b""))
        assert (1002).to_bytes(2, "big") in text


# --- handshakes ---


@pytest.mark.parametrize("path", ["assistants", "nothing", "responses/resp_1", "health"])
def test_other_paths_open_no_websocket(server: Server, path: str) -> None:
    with pytest.raises(InvalidStatus) as refused, opened(server, path):
        pass
    response = refused.value.response
    assert (response.status_code, response.headers["upgrade"]) == (426, "websocket")
    assert response.headers["x-request-id"].startswith("req_")
    assert json.loads(response.body)["error"]["code"] == "upgrade_required"


def test_a_handshake_that_a_proxy_made_a_plain_request_asks_for_the_upgrade(server: Server) -> None:
    headers = {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version": "13"}
    for path in ("responses", "nothing"):
        answer = httpx.get(f"{server.url}/{path}", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (426, "upgrade_required")


def test_the_proxy_of_deploy_passes_websockets_on(server: Server, tmp_path: Path) -> None:
    with running_nginx(tmp_path, [server.port, server.port]) as root:
        with connect(f"{root.replace('http', 'ws')}/v1/responses") as client:
            assert answer(client, create())["type"] == "response.completed"
        assert httpx.get(f"{root}/v1/health").json() == {"status": "alive"}
        with pytest.raises(InvalidStatus) as refused, connect(f"{root.replace('http', 'ws')}/v1/nothing"):
            pass
        assert refused.value.response.status_code == 426


def test_a_plain_get_is_refused_as_before(server: Server) -> None:
    assert httpx.get(f"{server.url}/responses").status_code == 405


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_WebSocket_Version": "8"},
        {"Sec_WebSocket_Version": None},
        {"Sec_WebSocket_Key": "short"},
        {"Sec_WebSocket_Extensions": "x" * 10_000 + ";;"},
        {"Sec_WebSocket_Extensions": "permessage-deflate; ="},
    ],
)
def test_a_broken_handshake_is_refused_in_openais_shape(
    server: Server, headers: dict[str, str | None]
) -> None:
    with raw(server, handshake(server, **headers)) as client:
        head, _, body = b"".join(iter(lambda: client.recv(65536), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"sec-websocket-version: 13" in head
    assert json.loads(body)["error"]["message"].startswith("The WebSocket handshake is not valid")


def test_long_headers_that_http_allows_are_allowed(server: Server) -> None:
    with opened(server, additional_headers={"Cookie": "x" * 20_000}) as client:
        assert answer(client, create())["type"] == "response.completed"


def test_pages_of_other_sites_open_no_websocket(server: Server) -> None:
    with pytest.raises(InvalidStatus) as refused, opened(server, origin="https://evil.example"):
        pass
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body)["error"]["code"] == "cross_site_request"
    with opened(server, origin=server.root):
        pass


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess) -> Iterator[Server]:
    settings = {"ASTROLABE_AUTH": "keys", "ASTROLABE_KEEP_ALIVE": "1"}
    with scripted_server(tmp_path_factory.mktemp("keyed"), provider, **settings) as server:
        yield server


def new_key(server: Server) -> str:
    return command(server.folder, "keys", "create", "--project", "p", **server.environment).stdout.strip()


def test_a_handshake_without_a_valid_key_is_refused(keyed: Server) -> None:
    for headers in ({}, {"Authorization": "Bearer sk-wrong-but-long-enough"}):
        with pytest.raises(InvalidStatus) as refused, opened(keyed, additional_headers=headers):
            pass
        response = refused.value.response
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        assert json.loads(response.body)["error"]["code"] == "invalid_api_key"


def test_a_revoked_key_ends_its_connections(keyed: Server) -> None:
    key = new_key(keyed)
    headers = {"Authorization": f"Bearer {key}"}
    with opened(keyed, additional_headers=headers) as client:
        assert answer(client, create())["type"] == "response.completed"
        client.send(create(deltas=1000, wait=0.05))
        [line] = command(keyed.folder, "keys", "list", **keyed.environment).stdout.splitlines()[-1:]
        command(keyed.folder, "keys", "revoke", line.split()[0], **keyed.environment)
        events, code = closed(client)
    assert code == 1008
    assert [one["status"] for one in events if one["type"] == "error"] == [401]


# --- the end ---


def ended(server: Server, tag: str) -> str | None:
    """How the response of that tag ended, by the server's log."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return next((line["end"] for line in lines if line.get("tag") == tag), None)


def test_a_client_that_disconnects_ends_its_responses(server: Server) -> None:
    tags = [secrets.token_hex(8) for _ in range(3)]
    with opened(server) as client:
        for lane, tag in zip("aab", tags, strict=True):
            client.send(create(stream_id=lane, tag=tag, deltas=1000, wait=0.05))
        for _ in range(4):
            client.recv(timeout=20)
    until(lambda: [ended(server, tag) for tag in tags] == ["interrupted", None, "interrupted"], seconds=10)


def stopped_while(
    server: Server, message: str, wait_for: Callable[[ClientConnection], object]
) -> tuple[list[dict], int | None]:
    with server, opened(server) as client:
        if message:
            client.send(message)
        wait_for(client)
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGTERM)
        events, code = closed(client)
        server.process.wait(20)
        assert server.process.returncode == 0, server.tail()
    return events, code


def test_a_stop_closes_idle_connections_at_once(tmp_path: Path, provider: ProviderProcess) -> None:
    server = scripted_server(tmp_path, provider, ASTROLABE_GRACE="20")
    assert stopped_while(server, "", lambda _: None) == ([], 1012)


def test_a_stop_lets_responses_end_within_the_grace_time(tmp_path: Path, provider: ProviderProcess) -> None:
    server = scripted_server(tmp_path, provider, ASTROLABE_GRACE="20")
    message = create(deltas=20, wait=0.1)
    events, code = stopped_while(server, message, lambda client: client.recv(timeout=20))
    assert (events[-1]["type"], code) == ("response.completed", 1012)


def test_a_stop_ends_responses_that_outlast_the_grace_time(tmp_path: Path, provider: ProviderProcess) -> None:
    server = scripted_server(tmp_path, provider, ASTROLABE_GRACE="1")
    message = create(stream_id="a", deltas=1000, wait=0.1)
    events, code = stopped_while(server, message, lambda client: client.recv(timeout=20))
    assert (events[-1]["type"], events[-1]["status"], events[-1]["stream_id"]) == ("error", 503, "a")
    assert code == 1012


# --- records ---


def test_connections_and_their_messages_are_logged_and_counted(server: Server, http: httpx.Client) -> None:
    before = len(server.log.read_text())
    with opened(server) as client:
        identifier = client.response.headers["x-request-id"]
        answer(client, create())
        answer(client, create(model=5))
        assert "astrolabe_open_websockets 1.0" in httpx.get(f"{server.root}/metrics").text
    until(lambda: identifier in server.log.read_text()[before:], seconds=5)
    lines = [json.loads(line) for line in server.log.read_text()[before:].splitlines()]
    found = [
        line for line in lines if line.get("event") == "request_finished" and "espons" in line["operation"]
    ]
    assert [(line["operation"], line["method"], line["status"]) for line in found] == [
        ("createResponse", "MESSAGE", 200),
        ("createResponse", "MESSAGE", 400),
        ("connectResponses", "GET", 101),
    ]
    assert found[0]["received"] == len(create())
    assert found[0]["sent"] > 0
