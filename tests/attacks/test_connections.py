"""What needs no key: connections that are silent, slow or many, and heads, trailers and bodies without end."""

import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.server import Server, until

pytestmark = pytest.mark.server

SECONDS, WHOLE_BODY = 1.0, 5.0
CHUNKED = b"POST /v1/threads HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of two workers that waits a second for a head, for more of a body, and for a client to read."""
    names = ("ASTROLABE_HEAD_TIMEOUT", "ASTROLABE_BODY_TIMEOUT", "ASTROLABE_SEND_TIMEOUT")
    timeouts = dict.fromkeys(names, str(SECONDS)) | {"ASTROLABE_WHOLE_BODY_TIMEOUT": str(WHOLE_BODY)}
    with Server(tmp_path_factory.mktemp("impatient"), OPENAI_API_KEY="sk-x", **timeouts) as server:
        yield server


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def rest(client: socket.socket) -> bytes:
    """Everything until the server closes the connection; a reset is a close too."""
    received = b""
    try:
        while piece := client.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def status(received: bytes) -> int:
    assert received.count(b"HTTP/1.1 ") == 1, received
    return int(received.split()[1])


def memory(server: Server) -> int:
    """Resident bytes of the largest worker."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in server.workers()]
    return max(pages) * 4096


def test_a_silent_connection_is_closed(impatient: Server) -> None:
    with connect(impatient) as client:
        began = time.monotonic()
        assert rest(client) == b""
        assert time.monotonic() - began >= SECONDS * 0.9


def test_a_head_that_never_ends_gets_408(impatient: Server) -> None:
    with connect(impatient) as client:
        client.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        received = rest(client)
    assert status(received) == 408
    assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"


@pytest.mark.parametrize("pieces", [1, 10], ids=["at once", "in pieces"])
@pytest.mark.parametrize(
    ("head", "largest"),
    [
        (b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nAccept: */*\r\n\r\n", "authorization"),
        (b"GET /v1/models HTTP/1.1\r\nA: a\r\nastra-api-token: %s", "astra-api-token"),
        (b"GET /v1/models?%s HTTP/1.1\r\nHost: x\r\n\r\n", "line"),
    ],
)
def test_a_head_over_its_bound_is_refused_by_its_largest_header(
    server: Server, head: bytes, largest: str, pieces: int
) -> None:
    content = head % (b"x" * 70_000)
    with connect(server) as client:
        for start in range(0, len(content), -(-len(content) // pieces)):
            client.sendall(content[start : start + -(-len(content) // pieces)])
            time.sleep(0.02 * (pieces > 1))
        answer = rest(client)
    assert status(answer) == 431
    message = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"].lower()
    assert message.startswith(
        "the request's line and headers take more than 65536 bytes. the largest is the "
    )
    assert largest in message


def test_bytes_now_and_then_do_not_make_a_head_live_longer(impatient: Server) -> None:
    with connect(impatient) as client:
        client.settimeout(0.1)
        client.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        began, received = time.monotonic(), b""
        while not received and time.monotonic() - began < 20:
            try:
                received = client.recv(65536)
            except TimeoutError:
                client.sendall(b"x")
    assert status(received) == 408
    assert time.monotonic() - began < SECONDS * 5


def test_line_ends_between_requests_do_not_keep_a_connection_open(impatient: Server) -> None:
    with connect(impatient) as client:
        client.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(65536).endswith(b'{"status":"alive"}')
        client.sendall(b"\r\n")
        assert rest(client) == b""


@pytest.mark.parametrize(
    "body",
    [
        CHUNKED + b'18\r\n{"metadata"',
        CHUNKED.replace(b"Transfer-Encoding: chunked", b"Content-Length: 99999"),
    ],
    ids=["chunked", "with a length"],
)
def test_a_body_that_stops_arriving_gets_408(impatient: Server, body: bytes) -> None:
    with connect(impatient) as client:
        client.sendall(body)
        assert status(rest(client)) == 408


def test_a_body_that_trickles_gets_408(impatient: Server) -> None:
    with connect(impatient) as client:
        client.settimeout(0.1)
        client.sendall(CHUNKED)
        began, received = time.monotonic(), b""
        while not received and time.monotonic() - began < 20:
            try:
                received = client.recv(65536)
            except TimeoutError:
                client.sendall(b"1\r\n \r\n")
    assert status(received) == 408


def test_a_slow_body_that_goes_on_is_served(impatient: Server) -> None:
    body = b'{"metadata": {}}' + b" " * 200_000
    with connect(impatient) as client:
        client.sendall(CHUNKED.replace(b"Transfer-Encoding: chunked", b"Content-Length: %d" % len(body)))
        for start in range(0, len(body), 16_000):
            client.sendall(body[start : start + 16_000])
            time.sleep(SECONDS / 4)
        assert status(client.recv(65536)) == 200


def test_a_body_that_goes_on_for_too_long_gets_408(impatient: Server) -> None:
    with connect(impatient) as client:
        client.settimeout(0.1)
        began, received = time.monotonic(), b""
        client.sendall(CHUNKED.replace(b"Transfer-Encoding: chunked", b"Content-Length: 30000000"))
        while not received and time.monotonic() - began < 30:
            try:
                received = client.recv(65536)
            except TimeoutError:
                client.sendall(b" " * 10_000)
    assert status(received) == 408
    assert time.monotonic() - began >= WHOLE_BODY


def test_an_answered_request_whose_body_goes_on_is_closed(impatient: Server) -> None:
    head = CHUNKED.replace(b"/v1/threads", b"/v1/nonsense")
    with connect(impatient) as client:
        client.settimeout(0.05)
        client.sendall(head)
        assert status(client.recv(65536)) == 404
        began = time.monotonic()
        with pytest.raises(OSError, match=r"reset|pipe"):
            while time.monotonic() - began < 20:
                client.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")
                time.sleep(0.05)
        assert time.monotonic() - began < SECONDS * 5


def test_trailers_of_a_body_are_bounded(impatient: Server) -> None:
    before = memory(impatient)
    for trailer in (b"X-Trailer: %s\r\n" % (b"x" * 1000), b"x" * 1000):
        with connect(impatient) as client:
            client.sendall(CHUNKED.replace(b"/v1/threads", b"/v1/nonsense") + b"0\r\nX-Long: ")
            with pytest.raises(OSError, match=r"reset|pipe"):
                for _ in range(20_000):
                    client.sendall(trailer)
    assert memory(impatient) - before < 20 * 1024 * 1024
    assert httpx.get(f"{impatient.url}/health").status_code == 200


def test_a_trailer_is_no_header(server: Server) -> None:
    with connect(server) as client:
        client.sendall(
            CHUNKED + b"2\r\n{}\r\n0\r\nOpenAI-Beta: assistants=v1\r\nOrigin: https://x.example\r\n\r\n"
        )
        received = client.recv(65536)
    assert status(received) == 200
    assert b'"tool_resources"' in received  # which threads of version 1 do not have


@pytest.fixture(scope="module")
def download(impatient: Server) -> bytes:
    """The request of a file of 16 MB, more than the system's buffers hold."""
    form = {"purpose": "batch"}
    file = httpx.post(
        f"{impatient.url}/files", data=form, files={"file": b"x" * 16_000_000}, timeout=30
    ).json()
    return b"GET /v1/files/%s/content HTTP/1.1\r\nHost: x\r\n\r\n" % file["id"].encode()


def test_a_client_that_does_not_read_is_disconnected(impatient: Server, download: bytes) -> None:
    with connect(impatient) as client:
        client.sendall(download)
        until(lambda: open_streams(impatient) == 1, seconds=10)
        until(lambda: open_streams(impatient) == 0, seconds=20)
        assert len(rest(client)) < 16_000_000


def test_a_client_that_reads_slowly_gets_everything(impatient: Server, download: bytes) -> None:
    received = 0
    with connect(impatient) as client:
        client.sendall(download)
        while received < 16_000_000 and (piece := client.recv(1_000_000)):
            received += len(piece)
            time.sleep(SECONDS / 10)
    assert received > 16_000_000


def open_streams(server: Server) -> float:
    text = httpx.get(f"{server.root}/metrics").text
    return sum(float(value) for value in re.findall(r"^astrolabe_open_streams (\S+)$", text, re.MULTILINE))


def test_idle_connections_make_room_for_new_ones(tmp_path: Path) -> None:
    with Server(tmp_path, workers=1, ASTROLABE_MAX_CONNECTIONS="8", OPENAI_API_KEY="sk-x") as server:
        idle = [connect(server) for _ in range(40)]
        assert httpx.get(f"{server.url}/health").status_code == 200
        open_ones = [client for client in idle if is_open(client)]
        assert 1 <= len(open_ones) <= 8
        for client in idle:
            client.close()


def is_open(client: socket.socket) -> bool:
    client.settimeout(0.2)
    try:
        return client.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def test_a_busy_server_refuses_connections_over_its_bound(tmp_path: Path) -> None:
    with Server(tmp_path, workers=1, ASTROLABE_MAX_CONNECTIONS="8", OPENAI_API_KEY="sk-x") as server:
        busy = [connect(server) for _ in range(8)]
        for client in busy:
            client.sendall(CHUNKED)

        def is_refused() -> bool:
            with connect(server) as client:
                client.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return re.match(rb"HTTP/1.1 503 .*retry-after: 1", rest(client), re.DOTALL) is not None

        until(is_refused, seconds=10)
        for client in busy:
            client.close()
        until(lambda: not is_refused(), seconds=10)
