"""HTTP as real clients speak it: upgrades, compressed bodies, slips in the path, other origins."""

import gzip
import json
import socket
import zlib

import httpx
import pytest

from tests.server import Server

pytestmark = pytest.mark.server

UPGRADE = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
)


def exchange(server: Server, *requests: bytes) -> list[tuple[int, bytes]]:
    """Send requests over one connection and return the status and body of each answer, and no more."""
    answers = []
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        stream = client.makefile("rb")
        for request in requests:
            client.sendall(request)
            status = int(stream.readline().split()[1])
            length = 0
            while (line := stream.readline().strip()) != b"":
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            answers.append((status, stream.read(length)))
        client.shutdown(socket.SHUT_WR)
        assert stream.read() == b""
    return answers


def post(path: str, body: bytes, headers: bytes = b"") -> bytes:
    return (
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s"
        % (path.encode(), len(body), headers, body)
    )


@pytest.mark.parametrize("body", [b'{"metadata": {"a": "b"}}', b'{"metadata": {"a": "%s"}}' % (b"x" * 400)])
def test_a_request_to_upgrade_is_served_with_its_body_and_the_connection_goes_on(
    server: Server, body: bytes
) -> None:
    get = b"GET /v1/health HTTP/1.1\r\nHost: x\r\n" + UPGRADE + b"\r\n"
    answers = exchange(server, post("/v1/threads", body, UPGRADE), get, post("/v1/threads", body))
    assert [status for status, _ in answers] == [200, 200, 200]
    assert json.loads(answers[0][1])["metadata"] == json.loads(body)["metadata"]
    assert json.loads(answers[1][1]) == {"status": "alive"}


def test_a_request_to_upgrade_whose_body_comes_later_is_answered_once(server: Server) -> None:
    request = post("/v1/threads", b'{"metadata": {"a": "b"}}', UPGRADE)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        for byte in range(0, len(request), 40):
            client.sendall(request[byte : byte + 40])
        client.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = client.makefile("rb").read()
    assert answer.count(b"HTTP/1.1 200") == answer.count(b"HTTP/1.1 ") == 2


def test_chunked_bodies_survive_an_upgrade(server: Server) -> None:
    head = b"POST /v1/threads HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + UPGRADE + b"\r\n"
    [(status, body)] = exchange(server, head + b'18\r\n{"metadata": {"a": "b"}}\r\n0\r\n\r\n')
    assert (status, json.loads(body)["metadata"]) == (200, {"a": "b"})


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_body_is_decoded(http: httpx.Client, encoding: str, compress: object) -> None:
    body = compress(json.dumps({"metadata": {"a": "b"}}).encode())  # type: ignore[operator]
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    answer = http.post("threads", content=body, headers=headers)
    assert (answer.status_code, answer.json()["metadata"]) == (200, {"a": "b"})


def test_a_compressed_body_is_bounded_by_what_it_holds(http: httpx.Client) -> None:
    bomb = gzip.compress(b" " * (40 * 1024 * 1024))
    answer = http.post("threads", content=bomb, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [("br", b"x", 415), ("gzip", b"no gzip", 400), ("gzip", gzip.compress(b"{}" * 99, mtime=0)[:20], 400)],
    ids=["unknown", "not gzip", "cut off"],
)
def test_an_unreadable_encoding_is_refused(
    http: httpx.Client, encoding: str, body: bytes, status: int
) -> None:
    assert http.post("threads", content=body, headers={"Content-Encoding": encoding}).status_code == status


@pytest.mark.parametrize("path", ["//v1/files", "/v1//files", "/nonsense", "/v1/nonsense"])
def test_an_unknown_path_is_404(server: Server, path: str) -> None:
    [(status, body)] = exchange(server, b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
    assert (status, json.loads(body)["error"]["message"]) == (404, f"Invalid URL (GET {path})")


def test_a_base_url_without_v1_is_named(server: Server) -> None:
    answer = httpx.post(f"{server.root}/chat/completions", json={})
    message = "Invalid URL (POST /chat/completions); did you mean /v1/chat/completions?"
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, message)


def test_a_501_tells_sdks_not_to_retry(http: httpx.Client) -> None:
    answer = http.get("evals")
    assert (answer.status_code, answer.headers["x-should-retry"]) == (501, "false")


def test_polled_objects_say_after_how_long_to_ask_again(http: httpx.Client) -> None:
    store = http.post("vector_stores", json={}).json()["id"]
    file = http.post(
        "files", data={"purpose": "assistants"}, files={"file": ("a.txt", b"words of a file")}
    ).json()["id"]
    made = http.post(f"vector_stores/{store}/files", json={"file_id": file})
    assert 100 <= int(made.headers["openai-poll-after-ms"]) <= 250
    assert "openai-poll-after-ms" not in http.get(f"files/{file}").headers


def test_azures_paths_and_key_header_lead_to_the_same_operations(server: Server) -> None:
    root, headers = f"{server.root}/openai", {"api-key": "any"}
    said = {"messages": [{"role": "user", "content": "script: " + json.dumps({"turns": [{"text": "Hi"}]})}]}
    query = {"api-version": "2024-10-21"}
    chat = httpx.post(
        f"{root}/deployments/m/chat/completions", params=query, headers=headers, json=said, timeout=30
    )
    assert (chat.status_code, chat.json()["choices"][0]["message"]["content"]) == (200, "Hi")
    made = httpx.post(f"{root}/assistants", params=query, headers=headers, json={"model": "m"}).json()
    assert httpx.get(f"{root}/v1/assistants/{made['id']}", headers=headers).json() == made


def test_other_origins_are_not_allowed_by_default(http: httpx.Client) -> None:
    answer = http.get("health", headers={"Origin": "https://a.example"})
    assert "access-control-allow-origin" not in answer.headers
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in http.options("threads", headers=asked).headers


async def test_a_page_of_an_allowed_origin_may_call_and_stream(
    tmp_path_factory: pytest.TempPathFactory, server: Server
) -> None:
    folder, page = tmp_path_factory.mktemp("cors"), {"Origin": "https://a.example"}
    provider = {name: server.environment[name] for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL")}
    origins = "https://a.example, https://b.example"
    with Server(folder, workers=1, ASTROLABE_CORS_ORIGINS=origins, **provider) as cors:
        asked = {
            **page,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type, x-stainless-lang",
        }
        preflight = httpx.options(f"{cors.url}/chat/completions", headers=asked)
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == page["Origin"]
        assert preflight.headers["access-control-allow-headers"] == asked["Access-Control-Request-Headers"]
        assert "POST" in preflight.headers["access-control-allow-methods"]
        said = [{"role": "user", "content": "script: " + json.dumps({"turns": [{"text": "Hi"}]})}]
        stream = httpx.post(
            f"{cors.url}/chat/completions",
            headers=page,
            json={"model": "m", "messages": said, "stream": True},
            timeout=30,
        )
        assert stream.text.endswith("data: [DONE]\n\n")
        assert stream.headers["access-control-allow-origin"] == page["Origin"]
        assert "x-request-id" in stream.headers["access-control-expose-headers"]
        refused = httpx.get(f"{cors.url}/nonsense", headers=page)
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (404, page["Origin"])
        stranger = httpx.get(f"{cors.url}/health", headers={"Origin": "https://c.example"})
        assert "access-control-allow-origin" not in stranger.headers
        assert stranger.headers["vary"] == "Origin"
