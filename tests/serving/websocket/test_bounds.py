"""Bounds of a WebSocket: long messages, slow and silent clients, broken frames."""

import zlib
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from tests.server import Server, until
from tests.serving.websocket.client import closed, create, ended, handshake, opened, raw

pytestmark = pytest.mark.server


def test_a_message_over_the_limit_ends_the_connection(server: Server) -> None:
    with opened(server, compression=None) as client:
        client.send(create(text="x" * 100_000_000))
        events, code = closed(client)
    assert code == 1009
    assert [one["status"] for one in events] == [413]
    assert events[0]["error"]["code"] == "request_too_large"


def test_fragments_over_the_limit_end_the_connection(server: Server) -> None:
    with opened(server, compression=None) as client:
        with suppress(ConnectionClosed):  # which may come ahead of the last fragments
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
