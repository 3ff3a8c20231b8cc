"""Comments keep a silent stream alive, and nothing follows a response's end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import flask
import pytest

from serving.cors import Cors
from serving.interruptions import Interruptions
from serving.metrics import Metrics
from serving.request import Headers, Request
from serving.responses import Pieces, Response
from serving.sending import COMMENT, Sender, Sending

KEEP_ALIVE = 0.2


class Client:
    """Receives a response; while `reads` is clear, whoever sends to it waits."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.reads.set()
        self.pieces: list[bytes] = []

    async def receive(self, message: dict[str, Any]) -> None:
        await self.reads.wait()
        if message["type"] == "http.response.body":
            self.pieces.append(message["body"])


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    return Metrics(flask.Flask("test"))


def sender_to(client: Client, metrics: Metrics) -> Sender:
    async def is_valid(_: Request) -> bool:
        return True

    request = Request("req", "GET", "/", "/", b"", Headers(()))
    return Sender(request, client.receive, Sending(Cors(()), Interruptions(), metrics, is_valid, KEEP_ALIVE))


async def response(events: AsyncIterator[bytes]) -> Response:
    return Response(200, [], await Pieces.begin(events, is_events=True))


async def test_a_stream_that_is_not_silent_gets_no_comment(metrics: Metrics) -> None:
    async def events() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"event"
            await asyncio.sleep(KEEP_ALIVE / 20)

    client = Client()
    await sender_to(client, metrics).send(await response(events()))
    assert client.pieces == [b"event"] * 40 + [b""]


async def test_a_comment_that_waited_for_the_client_does_not_follow_the_end(metrics: Metrics) -> None:
    async def events() -> AsyncIterator[bytes]:
        yield b"first"
        client.reads.clear()
        yield b"second"

    client = Client()
    sending = asyncio.create_task(sender_to(client, metrics).send(await response(events())))
    await asyncio.sleep(2 * KEEP_ALIVE)  # a comment waits behind the second event
    client.reads.set()
    await sending
    await asyncio.sleep(0)  # the comment would be sent now
    assert client.pieces == [b"first", b"second", b""]


async def test_a_stream_that_its_client_left_gets_no_more_comments(metrics: Metrics) -> None:
    client = Client()
    sender = sender_to(client, metrics)
    sender.open_stream()
    await asyncio.sleep(2 * KEEP_ALIVE)
    assert client.pieces.count(COMMENT) >= 2
    sender.abandon()
    before = len(client.pieces)
    await asyncio.sleep(2 * KEEP_ALIVE)
    assert len(client.pieces) == before
