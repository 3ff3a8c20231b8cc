"""Chunks that are not parsed: clients and runs get what they would get if each were."""

import orjson
import pytest

from inference.gateway.answers import streams
from inference.gateway.answers.streams import CompletionStream
from inference.gateway.answers.text_runs import Template
from inference.gateway.paths import CHAT, COMPLETIONS
from inference.gateway.routing.targets import Target
from persistence.types import JSON
from tests.inference.gateway.chunks import HEAD, chunk

WORDS = [b"One", b" two", b" three", b" four"]

ODD_TEXTS = {
    "a tab as it is": [b" a\tb"],
    "a zero byte": [b" a\0b"],
    "no UTF-8": [b" \xff!"],
    "half a character in each of two chunks": [b" \xc3", b"\xa9"],
    "a surrogate as UTF-8": [b" \xed\xa0\x80"],
    "a quote": [b' \\"a\\"'],
    "a backslash": [b" \\\\"],
    "an escaped line feed": [b"\\n"],
    "a line separator": ["\u2028".encode()],
    "an escape": [b" \\u00e9"],
    "half of a surrogate pair in each of two chunks": [b" \\ud83d", b"\\ude00"],
    "nothing": [b""],
}

ODD_CHUNKS = {
    "two choices": {"choices": [{"index": n, "delta": {"content": " x"}} for n in (0, 1)]},
    "no choices": {"choices": []},
    "another choice": {"choices": [{"index": 1, "delta": {"content": " x"}, "finish_reason": None}]},
    "another id": {"id": "c2"},
    "a service tier": {"service_tier": "flex"},
    "usage": {"usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}},
    "null": {"choices": None},
}


def payload(path: str, text: bytes) -> bytes:
    mark = "MARK"
    value = chunk({"content": mark})
    if path == COMPLETIONS:
        value = {**HEAD, "object": "text_completion"}
        value["choices"] = [{"index": 0, "text": mark, "logprobs": None, "finish_reason": None}]
    return orjson.dumps(value).replace(mark.encode(), text)


def body(*payloads: bytes) -> bytes:
    return b"".join(b"data: %b\n\n" % each for each in payloads)


def read(path: str, pieces: list[bytes]) -> tuple[list[JSON], list[JSON]]:
    """Read a stream as a run does, and as a client of the relay does."""
    for_run, for_client = (CompletionStream(Target("p", "openai", "m"), path, {}) for _ in range(2))
    chunks = [each for piece in pieces for each in for_run.chunks(piece)]
    frames = b"".join(for_client.frames(piece) for piece in pieces).split(b"\n\n")[:-1]
    return chunks, [orjson.loads(frame.removeprefix(b"data: ")) for frame in frames]


def check(monkeypatch: pytest.MonkeyPatch, path: str, sent: bytes, size: int) -> None:
    pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
    unparsed = read(path, pieces)
    with monkeypatch.context() as patched:
        patched.setattr(streams, "MAX_TEMPLATES", 0)
        parsed = read(path, pieces)
    assert unparsed == parsed
    assert parsed[0] == parsed[1]


@pytest.mark.parametrize("size", [100_000, 300, 50])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("name", ODD_TEXTS)
def test_odd_texts_are_those_of_parsed_chunks(
    monkeypatch: pytest.MonkeyPatch, name: str, path: str, size: int
) -> None:
    texts = [*WORDS, *ODD_TEXTS[name], *WORDS]
    check(monkeypatch, path, body(*(payload(path, text) for text in texts)), size)


@pytest.mark.parametrize("size", [100_000, 300, 50])
@pytest.mark.parametrize("name", ODD_CHUNKS)
def test_odd_chunks_among_plain_ones_are_parsed(
    monkeypatch: pytest.MonkeyPatch, name: str, size: int
) -> None:
    plain = [payload(CHAT, text) for text in WORDS]
    odd = orjson.dumps({**chunk({"content": " x"}), **ODD_CHUNKS[name]})
    check(monkeypatch, CHAT, body(*plain, odd, *plain), size)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_plain_chunks_are_not_parsed(path: str) -> None:
    first, second = payload(path, b"One"), payload(path, b" two")
    template = Template.of(first, orjson.loads(first))
    assert template is not None
    event = template.read(second)
    assert event is not None
    assert event.chunk == orjson.loads(second)
    assert template.split(body(first, second)) == [orjson.loads(first), orjson.loads(second)]


@pytest.mark.parametrize(
    "value",
    [
        chunk({"content": ""}),
        chunk({"content": "x"}, "stop"),
        chunk({"content": "x", "role": "assistant"}),
        chunk({"content": "x"}, note={"content": "x"}),
        {**HEAD, "choices": []},
    ],
)
def test_only_a_piece_of_text_makes_a_template(value: JSON) -> None:
    assert Template.of(orjson.dumps(value), value) is None
