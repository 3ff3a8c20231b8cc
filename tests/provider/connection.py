"""One client's connection to the provider, in raw asyncio, so that benchmarks do not measure the provider."""

import asyncio
import re
from typing import TYPE_CHECKING, cast

import httptools

from tests.provider import answers

if TYPE_CHECKING:
    from tests.provider.server import Provider

EVENTS = "text/event-stream"
BENCH = re.compile(rb'"model": ?"bench(?:-(\d+))?"')
STREAM = re.compile(rb'"stream": ?true')
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


class Disconnected(Exception):
    """The client hung up."""


class Connection(asyncio.Protocol):
    """One client's connection; its requests are served one after the other."""

    transport: asyncio.Transport
    method = ""

    def __init__(self, provider: "Provider") -> None:
        self.provider = provider
        self.parser = httptools.HttpRequestParser(self)
        self.task: asyncio.Task[None] | None = None
        self.can_write = asyncio.Event()
        self.can_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        self.number = next(self.provider.numbers)
        self.provider.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.provider.connections.discard(self)
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        self.can_write.clear()

    def resume_writing(self) -> None:
        self.can_write.set()

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_message_begin(self) -> None:
        self.target, self.body = b"", bytearray()
        self.headers: dict[str, str] = {}

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        body = bytes(self.body)
        self.method = self.parser.get_method().decode()
        if b"bench" in body and (match := BENCH.search(body)):
            self._answer_bench(int(match[1] or 100), STREAM.search(body) is not None)
            return
        self.task = asyncio.ensure_future(self.provider.serve(self, self.target.decode(), self.headers, body))

    def _answer_bench(self, chunks: int, streamed: bool) -> None:
        if not streamed:
            self.send(200, answers.bench_completion())
            return
        self.start_stream()
        for piece in answers.bench_stream(chunks):
            self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.transport.write(b"0\r\n\r\n")

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """A whole answer."""
        given = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
        self.transport.write(response_head(status, given) + body)

    def start_stream(self, content_type: str = EVENTS) -> None:
        self.transport.write(
            response_head(200, {"content-type": content_type, "transfer-encoding": "chunked"})
        )

    async def write(self, data: bytes) -> None:
        """A piece of a stream."""
        if self.transport.is_closing():
            raise Disconnected
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self.can_write.wait()

    def end_stream(self) -> None:
        self.transport.write(b"0\r\n\r\n")


def response_head(status: int, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {REASONS.get(status, 'Error')}\r\n{lines}\r\n".encode()
