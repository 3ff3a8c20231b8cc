"""Streams of events that are changed on their way."""

from collections.abc import AsyncGenerator

from handlers.context import Stream
from serving.responses import Pieces


async def test_events_are_changed_one_by_one_and_left_out() -> None:
    async def source() -> AsyncGenerator[bytes, None]:
        yield b"data: 1\n\ndata: 2\n\n"
        yield b"data: 2\n\n"
        yield b"data: 3\n\n"

    async def change(event: bytes) -> bytes:
        return b"" if event == b"data: 2" else event + b"0"

    stream = Stream(source(), after_stop="Read it again.").changed(change)
    assert [piece async for piece in stream.events] == [b"data: 10\n\n", b"data: 30\n\n"]
    assert stream.after_stop == "Read it again."


async def test_a_changed_stream_closes_its_source_when_its_client_disconnects() -> None:
    closed = []

    async def source() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"data: 1\n\n"
        finally:
            closed.append(True)

    async def change(event: bytes) -> bytes:
        return event

    pieces = await Pieces.begin(Stream(source()).changed(change).events, is_events=True)
    assert closed == []
    await pieces.close()
    assert closed == [True]
