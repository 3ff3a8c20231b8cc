"""A server with scripted responses, and what its WebSocket clients send and receive."""

import base64
import json
import secrets
import socket
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.provider import ProviderProcess
from tests.server import ROOT, Server

GUNICORN = (sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"))
COMMAND = (*GUNICORN, "tests.serving.scripted_responses:app")
TERMINAL = {"response.completed", "response.failed", "error"}


def scripted_server(folder: Path, provider: ProviderProcess, **environment: str) -> Server:
    models = {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": provider.url}
    return Server(folder, command=COMMAND, **models, **environment)


def opened(
    server: Server, path: str = "responses", **options: Any
) -> AbstractContextManager[ClientConnection]:
    return connect(f"{server.url.replace('http', 'ws')}/{path}", **options)


def create(**members: Any) -> str:
    """A message that asks for a response; what the scripted handler knows becomes its input."""
    script = {
        name: members.pop(name) for name in ("deltas", "wait", "text", "fail", "tag") if name in members
    }
    return json.dumps({"type": "response.create", "model": "m", "input": json.dumps(script), **members})


def received(client: ClientConnection) -> list[dict]:
    """The events up to the end of a response or an error."""
    events = [json.loads(client.recv(timeout=20))]
    while events[-1]["type"] not in TERMINAL:
        events.append(json.loads(client.recv(timeout=20)))
    return events


def answer(client: ClientConnection, message: str | bytes) -> dict:
    client.send(message)
    return received(client)[-1]


def closed(client: ClientConnection) -> tuple[list[dict], int | None]:
    """The events up to the end of the connection, and its close code."""
    events = []
    try:
        while True:
            events.append(json.loads(client.recv(timeout=20)))
    except ConnectionClosed as exc:
        return events, exc.rcvd.code if exc.rcvd else None


def handshake(server: Server, path: str = "/v1/responses", **headers: str | None) -> dict[str, str]:
    fields = {
        "Host": f"127.0.0.1:{server.port}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": base64.b64encode(secrets.token_bytes(16)).decode(),
        "Sec-WebSocket-Version": "13",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    return {"": f"GET {path} HTTP/1.1"} | {name: value for name, value in fields.items() if value is not None}


def head(fields: dict[str, str]) -> bytes:
    first, *lines = (f"{name}: {value}".removeprefix(": ") for name, value in fields.items())
    return "\r\n".join((first, *lines, "", "")).encode()


def raw(server: Server, fields: dict[str, str], rest: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    client.sendall(head(fields) + rest)
    return client


def ended(server: Server, tag: str) -> str | None:
    """How the response of that tag ended, by the server's log."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return next((line["end"] for line in lines if line.get("tag") == tag), None)
