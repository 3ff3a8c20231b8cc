"""Servers of the older protocol that misbehave, each in one way."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

TOOL = {"name": "go", "description": "Go.", "inputSchema": {"type": "object", "properties": {}}}


def result(id: Any, value: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": value}


async def answer(request: Request) -> Response:
    """Answer one message of a server of the kind in the path."""
    kind = request.path_params["kind"]
    if request.method != "POST":
        return Response(status_code=405)
    message = await request.json()
    method, id = message.get("method"), message.get("id")
    if kind == "secret" and request.headers.get("authorization") != "Bearer sesame":
        return Response("who are you?", status_code=401)
    if kind == "broken":
        return Response("an error page", status_code=500)
    if kind == "page":
        return Response("<html>", media_type="text/html")
    if kind == "elsewhere":
        return Response(status_code=307, headers={"location": "http://169.254.169.254/mcp"})
    if kind == "packed":
        body = gzip.compress(json.dumps(result(id, {})).encode())
        return Response(body, media_type="application/json", headers={"content-encoding": "gzip"})
    match method:
        case "initialize":
            server = {"name": kind, "version": "1"}
            offered = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": server}
            return JSONResponse(result(id, offered))
        case "tools/list":
            return listed(kind, id, message)
        case "tools/call":
            return called(kind, id, message, request.headers.get("authorization", ""))
        case _ if id is None:
            return Response(status_code=202)
        case _:
            error = {"code": -32601, "message": "Method not found"}
            return JSONResponse({"jsonrpc": "2.0", "id": id, "error": error})


def listed(kind: str, id: Any, message: dict[str, Any]) -> Response:
    tools: list[Any] = [TOOL]
    more: dict[str, Any] = {}
    match kind:
        case "pages":
            cursor = int((message.get("params") or {}).get("cursor") or 0)
            tools, more = [{**TOOL, "name": f"go{cursor}"}], {"nextCursor": str(cursor + 1)}
        case "long-list":
            tools = [{**TOOL, "name": f"go{number}", "description": "x" * 10_000} for number in range(100)]
        case "wrong-list":
            tools = [{"name": 7}]
        case "odd-schemas":
            tools = [
                {"name": "free", "inputSchema": {"type": "object"}},
                {
                    "name": "deep",
                    "inputSchema": {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}},
                },
                {"name": "x" * 200, "inputSchema": {"type": "object", "additionalProperties": True}},
            ]
        case "large-number":
            tools = [{**TOOL, "inputSchema": {"type": "object", "maximum": 10**30}}]
        case "no-tools":
            tools = []
        case "list-error":
            error = {"code": -32000, "message": "The tools are on strike"}
            return JSONResponse({"jsonrpc": "2.0", "id": id, "error": error})
    return JSONResponse(result(id, {"tools": tools, **more}))


def called(kind: str, id: Any, message: dict[str, Any], sent: str) -> Response:
    match kind:
        case "dying":
            return StreamingResponse(
                dying(), media_type="application/json", headers={"content-length": "1000"}
            )
        case "endless":
            return StreamingResponse(endless(), media_type="text/event-stream")
        case "silent":
            return StreamingResponse(silent(), media_type="text/event-stream")
        case "hundred-megabytes":
            return StreamingResponse(hundred_megabytes(), media_type="application/json")
        case "not-json":
            return Response("{", media_type="application/json")
        case "protocol-error":
            error = {"code": -32602, "message": "No such argument"}
            return JSONResponse({"jsonrpc": "2.0", "id": id, "error": error})
        case "blocks":
            content = [
                {"type": "resource_link", "uri": "file:///a.txt", "name": "a.txt", "description": "A file"},
                {"type": "resource", "resource": {"uri": "file:///b.txt", "text": "B's text"}},
                {"type": "resource", "resource": {"uri": "file:///c", "blob": "AAAA", "mimeType": "x/y"}},
                {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"},
                {"type": "image", "data": "AAAA", "mimeType": "image/tiff"},
            ]
            return JSONResponse(result(id, {"content": content}))
        case "structured":
            return JSONResponse(result(id, {"content": [], "structuredContent": {"degrees": 21.5}}))
        case "structured-large":
            return JSONResponse(result(id, {"content": [], "structuredContent": {"atoms": 10**30}}))
        case "echo":
            return JSONResponse(result(id, {"content": [{"type": "text", "text": f"You sent {sent}."}]}))
        case "echo-error":
            error = {"code": -32602, "message": f"You sent {sent}"}
            return JSONResponse({"jsonrpc": "2.0", "id": id, "error": error})
        case _:
            arguments = json.dumps(message["params"].get("arguments"))
            return JSONResponse(result(id, {"content": [{"type": "text", "text": f"went {arguments}"}]}))


async def dying() -> AsyncIterator[bytes]:
    yield b'{"jsonrpc": '
    raise ConnectionResetError


async def endless() -> AsyncIterator[bytes]:
    note = {
        "jsonrpc": "2.0",
        "method": "notifications/message",
        "params": {"level": "info", "data": "x" * 1000},
    }
    while True:
        yield f"event: message\ndata: {json.dumps(note)}\n\n".encode() * 100
        await asyncio.sleep(0)


async def silent() -> AsyncIterator[bytes]:
    yield b": waiting\n\n"
    await asyncio.sleep(3600)


async def hundred_megabytes() -> AsyncIterator[bytes]:
    yield b'{"jsonrpc": "2.0", "id": 3, "result": {"content": [{"type": "text", "text": "'
    for _ in range(100):
        yield b"x" * 1_000_000
    yield b'"}]}}'
