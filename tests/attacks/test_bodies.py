"""Bodies that never end: a worker holds so many bytes of them in all, and a share of that for one project."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from handlers.context import Principal
from handlers.errors import Unavailable
from serving.limits import HeldBodies
from serving.request import Headers, Request
from tests.server import Server, until

pytestmark = pytest.mark.server

MEGABYTE = 1024 * 1024
HEAD = b"POST /v1/threads HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of two workers that hold 4 MB of bodies each, and at most 2 MB of one."""
    limits = {"ASTROLABE_MAX_HELD_BODIES": str(4 * MEGABYTE), "ASTROLABE_MAX_BODY": str(2 * MEGABYTE)}
    with Server(tmp_path_factory.mktemp("small"), OPENAI_API_KEY="sk-x", **limits) as server:
        yield server


def test_unfinished_bodies_are_bounded_in_sum_and_others_are_served(small: Server) -> None:
    large = b'{"metadata": {}}' + b" " * MEGABYTE
    with ExitStack() as stack:
        for _ in range(16):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", small.port), timeout=20))
            client.sendall(HEAD % (2 * MEGABYTE) + b" " * int(1.5 * MEGABYTE))
        answers = []

        def is_refused() -> bool:
            answers.append(httpx.post(f"{small.url}/threads", content=large))
            return answers[-1].status_code == 503

        until(is_refused, seconds=20)
        refused = answers[-1]
        assert refused.headers["retry-after"] == "2"
        assert refused.json()["error"]["code"] == "too_many_large_bodies"
        for _ in range(10):
            assert httpx.post(f"{small.url}/threads", json={}).status_code == 200
    until(lambda: httpx.post(f"{small.url}/threads", content=large).status_code == 200, seconds=20)


def test_what_a_body_took_is_free_again_once_it_is_answered(small: Server) -> None:
    body = json.dumps({"metadata": {"a": "b" * 600}}).encode() + b" " * (2 * MEGABYTE - 1000)
    for _ in range(12):
        assert httpx.post(f"{small.url}/threads", content=body).status_code == 400


def request(project: str, tenant: str = "") -> Request:
    return Request("req", "POST", "/", "/", b"", Headers(()), principal=Principal(project, tenant=tenant))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (request("ours"), request("theirs")),
        (request("default", "our database"), request("default", "theirs")),
    ],
    ids=["projects", "databases"],
)
def test_one_project_holds_its_share_at_most(ours: Request, theirs: Request) -> None:
    held = HeldBodies(100, share=50, largest=10)
    held.add(ours, 50)
    with pytest.raises(Unavailable):
        held.add(ours, 1)
    held.add(theirs, 50)
    held.release(ours)
    held.add(ours, 50)


def test_one_body_of_the_largest_size_always_fits() -> None:
    HeldBodies(10, share=5, largest=100).add(request("p"), 100)
