"""Serve on a free port and print the URL."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from tests.mcp_servers.odd import answer
from tests.mcp_servers.tools import server

SEEN: list[dict[str, Any]] = []


class Recorder:
    """Notes the messages that arrive, with their headers."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        with contextlib.suppress(ValueError):
            SEEN.append({"path": scope["path"], "headers": headers, "params": {}, **json.loads(body)})
        given = False

        async def again() -> Any:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, again, send)


async def seen(request: Request) -> JSONResponse:
    messages = [*SEEN]
    if request.query_params.get("clear"):
        SEEN.clear()
    return JSONResponse(messages)


def application() -> Any:
    streamable, sse = server().streamable_http_app(), server().sse_app()

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with streamable.router.lifespan_context(streamable):
            yield

    odd = Route("/odd/{kind}/mcp", answer, methods=["GET", "POST", "DELETE"])
    routes = [Route("/seen", seen), odd]
    routes += [each for each in streamable.routes if isinstance(each, Route)]
    routes += [Mount("/", sse)]  # type: ignore[list-item]
    return Recorder(Starlette(routes=routes, lifespan=lifespan))


async def main() -> None:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(application(), log_level="error", timeout_graceful_shutdown=1)
    serving = uvicorn.Server(config)
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    await serving.serve(sockets=[listening])


asyncio.run(main())
