"""A lean HTTP client that counts the events of streams.

Raw asyncio and httptools; one connection is used again for the next request, as the SDK's are.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import httptools
import orjson

from bench.load import KEY, BenchFailed
from bench.measuring import Rate, cpu_seconds

DONE = b"data: [DONE]\n\n"
ENDED = b"response.completed"


@dataclass(slots=True)
class Answer:
    """A response; `first` and `seconds` count from the request's last byte.

    `events` are the SSE frames; of a stream only the last bytes are kept. `has_ended` is true once a
    response is completed.
    """

    status: int = 0
    events: int = 0
    first: float = 0.0
    seconds: float = 0.0
    body: bytes = b""
    has_ended: bool = False

    @property
    def is_whole(self) -> bool:
        """Return whether a stream ended as it should."""
        return self.status == 200 and (self.has_ended or self.body.endswith(DONE))

    def json(self) -> Any:
        """Return the body's JSON."""
        if self.status >= 300:
            raise BenchFailed(f"status {self.status}: {self.body[:500].decode(errors='replace')}")
        return orjson.loads(self.body)


@dataclass(slots=True)
class Tally:
    """The totals of many streams."""

    streams: int = 0
    events: int = 0
    broken: int = 0
    firsts: list[float] = field(default_factory=list)
    totals: list[float] = field(default_factory=list)

    def add(self, answer: Answer) -> None:
        """Add one response."""
        self.streams += 1
        self.events += answer.events
        self.broken += not answer.is_whole
        self.firsts.append(answer.first)
        self.totals.append(answer.seconds)


class Connection(asyncio.Protocol):
    """One connection; one request at a time.

    async with Connection(port) as connection:
        answer = await connection.send(request("GET", "/v1/health"))
    """

    _transport: asyncio.Transport

    def __init__(self, port: int) -> None:
        self._port = port
        self._waiter: asyncio.Future[Answer] | None = None

    async def __aenter__(self) -> Self:
        return await self.open()

    async def open(self) -> Self:
        """Connect."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: self, "127.0.0.1", self._port)
        self._transport = transport
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def is_closed(self) -> bool:
        """Return whether either side has closed the connection."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def send(self, request: bytes) -> "asyncio.Future[Answer]":
        """Send a whole request and return its response once it is complete."""
        self._parser = httptools.HttpResponseParser(self)
        self._answer = Answer()
        self._pieces: list[bytes] = []
        self._is_stream = False
        self._tail = b""
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        self._sent = time.perf_counter()
        return self._waiter

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that still waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(exc or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Parse."""
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note whether the response is a stream."""
        if name.lower() == b"content-type":
            self._is_stream = value.startswith(b"text/event-stream")

    def on_body(self, body: bytes) -> None:
        """Keep the body, or count a stream's frames; the end of a frame may be split."""
        if not self._answer.first:
            self._answer.first = time.perf_counter() - self._sent
        if not self._is_stream:
            self._pieces.append(body)
            return
        data = self._tail + body
        self._answer.has_ended = self._answer.has_ended or ENDED in body
        self._answer.events += data.count(b"\n\n")
        self._tail = b"\n" if data.endswith(b"\n") and not data.endswith(b"\n\n") else b""
        self._pieces[:] = [b"".join(self._pieces)[-32:] + body[-32:]]

    def on_message_complete(self) -> None:
        """Complete the response."""
        answer = self._answer
        answer.status = self._parser.get_status_code()
        answer.seconds = time.perf_counter() - self._sent
        answer.body = b"".join(self._pieces)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(answer)


def request(method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes of a request, with a JSON body or none."""
    content = b"" if body is None else orjson.dumps(body)
    given = {"Host": "127.0.0.1", **KEY, "OpenAI-Beta": "assistants=v2", **(headers or {})}
    if body is not None:
        given |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + content


async def ask(
    port: int, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> Any:
    """Send one request on its own connection and return the response's JSON; BenchFailed on an error."""
    async with Connection(port) as connection:
        return (await connection.send(request(method, path, body, headers))).json()


async def each_in_turn(port: int, requests: Iterable[bytes]) -> list[Answer]:
    """Send requests one after the other over one connection and return the responses."""
    async with Connection(port) as connection:
        return [await connection.send(each) for each in requests]


async def streams(port: int, body: bytes, connections: int, seconds: float) -> Tally:
    """Request the same stream repeatedly on each connection; those open at the deadline are completed."""
    tally = Tally()
    deadline = time.perf_counter() + seconds

    async def one() -> None:
        async with Connection(port) as connection:
            while time.perf_counter() < deadline:
                tally.add(await connection.send(body))

    await asyncio.gather(*(one() for _ in range(connections)))
    if tally.broken:
        raise BenchFailed(f"{tally.broken} of {tally.streams} streams did not come to their end")
    return tally


async def timed(pids: Iterable[int], work: Callable[[], Awaitable[Tally]]) -> tuple[Rate, Tally]:
    """Run a load; return its rate, with the CPU time of the server's processes, and its totals."""
    pids = list(pids)
    cpu, began = cpu_seconds(pids), time.perf_counter()
    tally = await work()
    return Rate(tally.streams, time.perf_counter() - began, cpu_seconds(pids) - cpu), tally
