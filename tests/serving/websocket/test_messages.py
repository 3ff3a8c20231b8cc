"""Messages on /v1/responses: each asks for a response, whose events come back as text frames."""

import json
import secrets
import socket
import threading

import pytest
from websockets.frames import Frame, Opcode

from tests.server import Server
from tests.serving.websocket.client import answer, create, handshake, head, opened, raw, received

pytestmark = pytest.mark.server


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
    request = b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(request)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        client.sendall(head(handshake(server)))
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


@pytest.mark.parametrize(
    "members", [{"response_id": "resp_1"}, {"model": "scripted", "input": "x" * 100_000}]
)
def test_what_codex_says_about_a_response_it_has_read_is_not_answered(server: Server, members: dict) -> None:
    with opened(server) as client:
        client.send(json.dumps({"type": "response.processed", **members}))
        assert answer(client, create())["type"] == "response.completed"
