"""Handshakes: which paths open a WebSocket, and for whom."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.fixtures.nginx import running_nginx
from tests.provider import ProviderProcess
from tests.server import Server, command
from tests.serving.websocket.client import answer, closed, create, handshake, opened, raw, scripted_server

pytestmark = pytest.mark.server


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
