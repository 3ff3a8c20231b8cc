"""The provider's HTTP: raw asyncio, so that benchmarks measure the server and not its provider."""

import asyncio
import json
import multiprocessing
import re
import socket
from collections import Counter, deque
from contextlib import suppress
from itertools import count
from typing import Any, Self, cast
from urllib.parse import parse_qs, urlsplit

import httptools

from persistence.types import JSON
from tests.provider import answers, anthropic, bedrock, gemini
from tests.provider.script import Turn

EVENTS = "text/event-stream"

BENCH = re.compile(rb'"model": ?"bench(?:-(\d+))?"')
STREAM = re.compile(rb'"stream": ?true')
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


class Disconnected(Exception):
    """The client hung up."""


class Connection(asyncio.Protocol):
    """One client's connection; its requests are served one after the other."""

    transport: asyncio.Transport

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
        self.transport.write(_head(status, given) + body)

    def start_stream(self, content_type: str = EVENTS) -> None:
        self.transport.write(_head(200, {"content-type": content_type, "transfer-encoding": "chunked"}))

    async def write(self, data: bytes) -> None:
        """A piece of a stream."""
        if self.transport.is_closing():
            raise Disconnected
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self.can_write.wait()

    def end_stream(self) -> None:
        self.transport.write(b"0\r\n\r\n")


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {REASONS.get(status, 'Error')}\r\n{lines}\r\n".encode()


class Provider:
    """The fake provider in this event loop."""

    def __init__(self, port: int = 0, *, shared: bool = False) -> None:
        self.connections: set[Connection] = set()
        self.numbers = count(1)
        self.requests: deque[JSON] = deque(maxlen=10_000)
        self._failures: Counter[tuple[str, int, str]] = Counter()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self.root = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.root}/v1"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), sock=self._socket, backlog=4096)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        tasks = [connection.task for connection in self.connections if connection.task is not None]
        for connection in list(self.connections):
            connection.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def received(self, tag: str) -> list[JSON]:
        """The requests whose script had that tag, oldest first."""
        return [record for record in self.requests if record["tag"] == tag]

    async def serve(self, connection: Connection, target: str, headers: dict[str, str], body: bytes) -> None:
        """Answer one request."""
        url = urlsplit(target)
        if url.path == "/_requests":
            tag = parse_qs(url.query).get("tag", [""])[0]
            connection.send(200, json.dumps(self.received(tag)).encode())
            return
        if url.path == "/v1/models":
            self.requests.append({"tag": "models", "path": url.path, "headers": headers, "ended": "complete"})
            connection.send(200, json.dumps(answers.models()).encode())
            return
        try:
            given = json.loads(body)
            turn = Turn.of(given)
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            connection.send(
                400, _error(f"The fake provider cannot read that: {exc!r}", "invalid_request_error")
            )
            return
        record: JSON = {
            "tag": turn.tag,
            "path": url.path,
            "headers": headers,
            "body": given,
            "turn": turn.number,
        }
        record |= {"ended": None, "sent": 0, "connection": connection.number}
        self.requests.append(record)
        try:
            await self._answer(connection, url.path, given, turn, record)
            record["ended"] = "complete"
        except (Disconnected, asyncio.CancelledError):
            record["ended"] = "disconnected"
        except (LookupError, ValueError, TypeError, AttributeError) as exc:
            # Such as a required tool where there is none, which providers refuse.
            message = f"The fake provider cannot answer that: {exc!r}"
            connection.send(400, _error(message, "invalid_request_error"))
            record["ended"] = "complete"

    async def _answer(self, connection: Connection, path: str, body: JSON, turn: Turn, record: JSON) -> None:
        await asyncio.sleep(turn.step.get("wait", 0))
        if self._fails(connection, turn, body.get("model", "")):
            return
        if "raw" in turn.step:
            await _raw(connection, turn.step, record)
            return
        if await _answer_of_another_api(connection, path, body, turn, record):
            return
        if path == "/v1/embeddings" and (body.get("dimensions") or 1) > answers.MOST_DIMENSIONS:
            connection.send(400, _error("That many dimensions no model has", "invalid_request_error"))
        elif path == "/v1/embeddings":
            connection.send(200, json.dumps(answers.embeddings(body)).encode())
        elif path == "/v1/moderations":
            connection.send(200, json.dumps(answers.moderation(body)).encode())
        elif path == "/v1/completions" and body.get("stream"):
            connection.start_stream()
            for event in answers.text_completion_events(answers.Answer(body, turn)):
                await connection.write(event)
                record["sent"] += 1
            connection.end_stream()
        elif path == "/v1/completions":
            connection.send(200, json.dumps(answers.text_completion(answers.Answer(body, turn))).encode())
        elif path != "/v1/chat/completions":
            connection.send(404, _error(f"No {path} here", "invalid_request_error"))
        elif body.get("stream"):
            await _stream(connection, answers.Answer(body, turn), record)
        else:
            connection.send(200, json.dumps(answers.Answer(body, turn).completion()).encode())

    def _fails(self, connection: Connection, turn: Turn, model: str) -> bool:
        """Whether this turn was to fail, and has."""
        fail = turn.step.get("fail")
        if not fail:
            return False
        key = (turn.tag, turn.number, model)
        self._failures[key] += 1
        if self._failures[key] > fail.get("times", float("inf")):
            return False
        if fail["status"] == 0:
            connection.transport.abort()
            return True
        message, code = fail.get("message", "The fake provider was told to fail"), fail.get("code")
        body = (
            fail["body"].encode()
            if "body" in fail
            else _error(message, fail.get("type", "server_error"), code)
        )
        headers = {"retry-after": str(fail["retry_after"])} if "retry_after" in fail else {}
        connection.send(fail["status"], body, headers)
        return True


async def _answer_of_another_api(
    connection: Connection, path: str, body: JSON, turn: Turn, record: JSON
) -> bool:
    """Answer a request of Anthropic's, Gemini's or Bedrock's API; return whether it was one."""
    method = re.split("[/:]", path)[-1]
    if method == "messages" and body.get("stream"):
        method = "messages-stream"
    answer = answers.Answer(body, turn)
    if method in WHOLE:
        connection.send(200, json.dumps(WHOLE[method](answer)).encode())
    elif method in STREAMED:
        events, content_type = STREAMED[method]
        connection.start_stream(content_type)
        for place, event in enumerate(events(answer)):
            if await _interrupted(connection, turn.step, place):
                break
            await asyncio.sleep(turn.step.get("delay", 0))
            await connection.write(event)
            record["sent"] += 1
        else:
            connection.end_stream()
    else:
        return False
    return True


WHOLE = {
    "messages": anthropic.message,
    "generateContent": gemini.response,
    "converse": bedrock.response,
}
STREAMED = {
    "messages-stream": (anthropic.events, EVENTS),
    "streamGenerateContent": (gemini.events, EVENTS),
    "converse-stream": (bedrock.events, bedrock.EVENT_STREAM),
}


def _error(message: str, type_: str, code: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": type_, "param": None, "code": code}}).encode()


async def _raw(connection: Connection, step: JSON, record: JSON) -> None:
    """Send the bytes that the script has, in pieces of `raw_size`."""
    body = step["raw"].encode("utf-8", "surrogatepass")
    size = step.get("raw_size") or len(body) or 1
    head = {"content-type": step.get("content_type", "text/event-stream"), "transfer-encoding": "chunked"}
    connection.transport.write(_head(step.get("status", 200), {**head, **step.get("headers", {})}))
    for start in range(0, len(body), size):
        await connection.write(body[start : start + size])
        record["sent"] += 1
        if size < len(body):
            await asyncio.sleep(0)
    if step.get("reset"):
        await asyncio.sleep(0.05)
        connection.transport.abort()
    else:
        connection.end_stream()


async def _stream(connection: Connection, answer: answers.Answer, record: JSON) -> None:
    step = answer.turn.step
    connection.start_stream()
    await connection.write(answer.chunk({"role": "assistant", "content": "" if answer.pieces else None}))
    place = 0
    for place, delta in enumerate(answer.deltas(), 1):
        if await _interrupted(connection, step, place - 1):
            return
        if delay := step.get("delay"):
            await asyncio.sleep(delay)
        await connection.write(answer.chunk(delta))
        record["sent"] += 1
    if await _interrupted(connection, step, place):
        return
    await connection.write(answer.chunk({}, answer.finish_reason))
    if answer.wants_usage():
        await connection.write(answer.chunk(None))
    if step.get("done", True):
        await connection.write(b"data: [DONE]\n\n")
    connection.end_stream()


async def _interrupted(connection: Connection, step: JSON, place: int) -> bool:
    """Do what the script wants to happen ahead of that piece; whether the answer ends with it."""
    if step.get("close_after") == place:
        connection.transport.abort() if step.get("reset") else connection.transport.close()
        return True
    if step.get("garbage_after") == place:
        await connection.write(b"data: <html>502 Bad Gateway</html>\n\n")
    if step.get("error_after") == place:
        await connection.write(
            b"data: " + _error("The fake provider broke in mid-stream", "server_error") + b"\n\n"
        )
        connection.end_stream()
        return True
    if step.get("stall_after") == place:
        await asyncio.sleep(step.get("stall", 3600))
    return False


async def _run(port: int, shared: bool, ready: Any) -> None:
    async with Provider(port, shared=shared) as provider:
        ready(provider.port)
        await asyncio.Event().wait()


def run(port: int = 0, shared: bool = False, ready: Any = None) -> None:
    """Serve until the process is ended; `ready` is called with the port."""
    with suppress(ImportError):
        import uvloop

        uvloop.install()
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(port, shared, ready or (lambda _: None)))


def _child(port: int, shared: bool, pipe: Any) -> None:
    run(port, shared, pipe.send)


class ProviderProcess:
    """The fake provider in processes of its own, behind one port."""

    def __init__(self, port: int = 0, processes: int = 1) -> None:
        context = multiprocessing.get_context("spawn")
        self._processes = []
        for _ in range(processes):
            here, there = context.Pipe()
            process = context.Process(target=_child, args=(port, processes > 1, there), daemon=True)
            process.start()
            if not here.poll(30):
                raise RuntimeError("the fake provider does not start")
            port = here.recv()
            self._processes.append(process)
        self.port = port
        self.root = f"http://127.0.0.1:{port}"
        self.url = f"{self.root}/v1"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.join()

    def join(self) -> None:
        """Wait until they end."""
        for process in self._processes:
            process.join()

    def received(self, tag: str) -> list[JSON]:
        """The requests whose script had that tag, oldest first; with several processes, one's."""
        import urllib.request

        with urllib.request.urlopen(f"{self.root}/_requests?tag={tag}") as answer:
            return list(json.load(answer))
