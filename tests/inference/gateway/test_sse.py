from collections.abc import AsyncIterator

import pytest

from inference.gateway import sse


async def pieces_of(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


STREAM = (
    b': hello\n\ndata: {"a":1}\n\ndata: {"b":2}\r\n\r\nevent: x\ndata: {\ndata: "c":3}\n\ndata: [DONE]\n\n'
)


@pytest.mark.parametrize("size", range(1, len(STREAM) + 1))
async def test_frames_are_whole_however_the_bytes_are_cut(size: int) -> None:
    items = [item async for item in sse.whole_frames(pieces_of(STREAM, size))]
    assert b"".join(items) == STREAM
    assert all(item.endswith((b"\n\n", b"\r\n\r\n")) for item in items)
    assert [payload for item in items for payload in sse.payloads(item)] == [
        b'{"a":1}',
        b'{"b":2}',
        b'{\n"c":3}',
        b"[DONE]",
    ]


async def test_what_is_left_without_a_blank_line_is_the_last_frame() -> None:
    items = [item async for item in sse.whole_frames(pieces_of(b"data: {}\n\ndata: [DONE]\n", 100))]
    assert b"".join(items) == b"data: {}\n\ndata: [DONE]\n\n"


async def test_a_frame_without_an_end_does_not_fill_the_memory() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * sse.LIMIT

    with pytest.raises(sse.NotEvents):
        [item async for item in sse.whole_frames(endless())]


@pytest.mark.parametrize(
    "frames", [b"<html>\n\n", b"data: nothing\n\n", b'data: {"a":1\n\n', b"\x00\xff\n\n"]
)
def test_what_is_no_event_is_refused(frames: bytes) -> None:
    with pytest.raises(sse.NotEvents):
        sse.check(frames)


@pytest.mark.parametrize(
    "frames", [b"data:{}\n\n", b": ping\n\n", b"id: 7\nretry: 5\nevent: e\ndata: {}\n\n"]
)
def test_every_form_of_an_event_is_taken(frames: bytes) -> None:
    sse.check(frames)
