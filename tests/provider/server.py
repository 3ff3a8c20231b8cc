"""The provider's answers to requests, as their scripts say."""

import asyncio
import json
import re
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import Self
from urllib.parse import parse_qs, urlsplit

from persistence.types import JSON
from tests.provider import answers, anthropic, bedrock, cohere, gemini, mistral
from tests.provider.connection import EVENTS, Connection, Disconnected, response_head
from tests.provider.media import MEDIA, form_fields
from tests.provider.objects import Objects
from tests.provider.rules import RULES
from tests.provider.script import Turn


class Provider:
    """The fake provider in this event loop."""

    def __init__(self, port: int = 0, *, shared: bool = False) -> None:
        self.connections: set[Connection] = set()
        self.numbers = count(1)
        self.requests: deque[JSON] = deque(maxlen=10_000)
        self._objects = Objects()
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
            connection.send(200, json.dumps(answers.models(self._objects.models())).encode())
            return
        try:
            given = _given(headers, body)
            if self._answered_object(connection, url.path, headers, given):
                return
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

    def _answered_object(
        self, connection: Connection, path: str, headers: dict[str, str], given: JSON
    ) -> bool:
        """Whether the request is about an object that the provider keeps, and was answered."""
        method = connection.method
        if "script:" in str(given.get("prompt")) or path.removeprefix("/v1/") in MEDIA:
            return False
        answer = self._objects.answer(method, path, given)
        if answer is None:
            return False
        status, content, headers_of_answer = answer
        self.requests.append(
            {"tag": f"{method}:{path}", "path": path, "headers": headers, "body": given, "ended": "complete"}
        )
        connection.send(status, content, headers_of_answer)
        return True

    async def _answer(self, connection: Connection, path: str, body: JSON, turn: Turn, record: JSON) -> None:
        await asyncio.sleep(turn.step.get("wait", 0))
        if self._fails(connection, turn, body.get("model", "")):
            return
        if "raw" in turn.step:
            await _raw(connection, turn.step, record)
            return
        if (media := MEDIA.get(path.removeprefix("/v1/"))) is not None:
            await media(connection, path, body)
            return
        operation = _operation(path)
        refused = RULES[operation](body) if operation in RULES else None
        if refused is not None:
            connection.send(*refused)
            return
        answer = answers.Answer(body, turn)
        if operation == "embeddings" and (body.get("dimensions") or 1) > answers.MOST_DIMENSIONS:
            connection.send(400, _error("No model has that many dimensions", "invalid_request_error"))
        elif operation == "chat/completions" and body.get("stream"):
            await _stream(connection, answer, record)
        elif operation in STREAMED and (body.get("stream") or operation not in WHOLE):
            await _stream_events(connection, *STREAMED[operation], answer, record)
        elif operation in WHOLE:
            connection.send(200, json.dumps(WHOLE[operation](answer)).encode())
        else:
            connection.send(404, _error(f"No {path} here", "invalid_request_error"))

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


WHOLE: dict[str, Callable[[answers.Answer], JSON]] = {
    "chat/completions": answers.Answer.completion,
    "completions": answers.text_completion,
    "embeddings": lambda answer: answers.embeddings(answer.body),
    "moderations": lambda answer: answers.moderation(answer.body),
    "messages": anthropic.message,
    "generateContent": gemini.response,
    "converse": bedrock.response,
    "chat": cohere.response,
    "embed": cohere.embeddings,
    "mistral": mistral.response,
}
"""What answers an operation of any of the APIs with a JSON object."""

STREAMED = {
    "completions": (answers.text_completion_events, EVENTS),
    "messages": (anthropic.events, EVENTS),
    "streamGenerateContent": (gemini.events, EVENTS),
    "chat": (cohere.events, EVENTS),
    "mistral": (mistral.events, EVENTS),
    "converse-stream": (bedrock.events, bedrock.EVENT_STREAM),
}
"""What answers an operation with a stream, and the stream's content type."""


def _given(headers: dict[str, str], body: bytes) -> JSON:
    content_type = headers.get("content-type", "")
    if content_type.startswith("multipart/form-data"):
        return form_fields(content_type, body)
    if content_type == "application/sdp":
        return {"sdp": body.decode()}
    value: JSON = json.loads(body or b"{}")
    return value


def _operation(path: str) -> str:
    """Return the name of an operation in the tables, by the end of a path: Azure's begin with a deployment."""
    if path.startswith("/mistral/"):
        return "mistral"
    ends = [operation for operation in WHOLE if path.endswith(f"/{operation}")]
    return max(ends, key=len) if ends else re.split("[/:]", path)[-1]


async def _stream_events(
    connection: Connection,
    events: Callable[[answers.Answer], Iterator[bytes]],
    content_type: str,
    answer: answers.Answer,
    record: JSON,
) -> None:
    connection.start_stream(content_type)
    for index, event in enumerate(events(answer)):
        if await _interrupted(connection, answer.turn.step, index):
            return
        await asyncio.sleep(answer.turn.step.get("delay", 0))
        await connection.write(event)
        record["sent"] += 1
    connection.end_stream()


def _error(message: str, type_: str, code: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": type_, "param": None, "code": code}}).encode()


async def _raw(connection: Connection, step: JSON, record: JSON) -> None:
    """Send the bytes that the script has, in pieces of `raw_size`."""
    padding = "y" * step.get("padding", 0)
    body = step["raw"].replace("PADDING", padding).encode("utf-8", "surrogatepass")
    size = step.get("raw_size") or len(body) or 1
    headers = {"content-type": step.get("content_type", "text/event-stream"), "transfer-encoding": "chunked"}
    connection.transport.write(response_head(step.get("status", 200), {**headers, **step.get("headers", {})}))
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
        stamp = {"content": f"{time.monotonic():.4f} "} if step.get("stamped") else None
        await connection.write(answer.chunk(stamp or delta))
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
