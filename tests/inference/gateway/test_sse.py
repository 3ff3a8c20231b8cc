import json
import time

import pytest

from inference.gateway.answers import sse

SOUND = {
    "plain": b'data: {"a":1}\n\ndata: {"b":2}\n\ndata: [DONE]\n\n',
    "no blank": b'data:{"a":1}\n\ndata:{"b":2}\n\ndata:[DONE]\n\n',
    "CRLF": b'data: {"a":1}\r\n\r\ndata: {"b":2}\r\n\r\ndata: [DONE]\r\n\r\n',
    "CR": b'data: {"a":1}\r\rdata: {"b":2}\r\rdata: [DONE]\r\r',
    "mark": b'\xef\xbb\xbfdata: {"a":1}\n\ndata: {"b":2}\n\ndata: [DONE]\n\n',
    "comments": b': hello\n\n:\n\ndata: {"a":1}\n\n: keep-alive\n\ndata: {"b":2}\n\n\n\ndata: [DONE]\n\n',
    "fields": b'event: x\nid: 1\nretry: 5\nodd: y\nodd\ndata: {"a":1}\n\nevent: ping\n\ndata: {"b":2}\n\ndata: [DONE]\n\n',
    "lines": b'data: {\ndata: "a":1}\n\ndata: {"b":2}\n\ndata: [DONE]\n\n',
    "no end": b'data: {"a":1}\n\ndata: {"b":2}\n\ndata: [DONE]',
    "blanks": b'data:  { "a" : 1 } \n\ndata: {"b":2}\t\n\ndata: [DONE] \n\n',
}


def payloads(data: bytes, size: int) -> list[bytes]:
    parser = sse.EventParser()
    found = [
        event for start in range(0, len(data), size) for event in parser.feed(data[start : start + size])
    ]
    return [*found, *parser.end()]


@pytest.mark.parametrize("name", SOUND)
def test_every_valid_stream_gives_the_same_events_however_it_is_split(name: str) -> None:
    for size in range(1, len(SOUND[name]) + 1):
        first, second, last = payloads(SOUND[name], size)
        assert (json.loads(first), json.loads(second), last.strip()) == ({"a": 1}, {"b": 2}, b"[DONE]")


def test_a_bare_json_line_is_an_event() -> None:
    assert payloads(b'data: {}\n\n{"error": "x"}\n\n', 100) == [b"{}", b'{"error": "x"}']


def test_an_event_without_an_end_does_not_fill_the_memory() -> None:
    parser = sse.EventParser()
    parser.feed(b"data: ")
    with pytest.raises(sse.InvalidEventStream):
        for _ in range(3):
            parser.feed(b"x" * (sse.LIMIT // 2))


def test_many_lines_without_an_end_do_not_fill_the_memory() -> None:
    parser = sse.EventParser()
    with pytest.raises(sse.InvalidEventStream):
        for _ in range(3):
            parser.feed(b"data: " + b"x" * (sse.LIMIT // 2) + b"\n")


def test_a_frame_is_an_event() -> None:
    assert payloads(sse.frame({"a": "é\n"}), 100) == ['{"a":"é\\n"}'.encode()]


def test_a_long_event_costs_no_more_than_its_length() -> None:
    """Reading all that has arrived again with each piece took a minute."""
    parser, piece = sse.EventParser(), b"x" * 4096
    began = time.thread_time()
    assert parser.feed(b"data: ") == []
    for _ in range(sse.LIMIT // len(piece) - 1):
        assert parser.feed(piece) == []
    (event,) = parser.feed(b"\n\n")
    assert len(event) == sse.LIMIT - len(piece)
    assert time.thread_time() - began < 2
    assert parser.is_idle
