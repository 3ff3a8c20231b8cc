"""Sessions with MCP servers, by the official `mcp` package.

The package takes a second and 35 MB to import, so nothing imports this module before a server is asked.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any, Self, TypeVar

import httpx2
import mcp_types as types
import orjson
from mcp.client import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import HEADER_MISMATCH
from pydantic import TypeAdapter, ValidationError

from inference.errors import ProviderError
from inference.mcp.errors import ServerFailed
from inference.mcp.http import MAX_BYTES, READ_SECONDS, Broken, GuardedTransport, worded
from inference.mcp.results import CallResult, call_result
from inference.mcp.servers import ExternalServer, ProcessServer, RemoteServer
from persistence.types import JSON

OPEN_SECONDS = 20.0
LIST_SECONDS = 30.0
CLOSE_SECONDS = 5.0

MAX_PAGES = 50
MAX_TOOLS = 500
MAX_LIST_BYTES = 512 * 1024
"""Bytes of a list of tools as JSON: it is stored with the response, and sent to the model."""

LEGACY = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_ACCEPTABLE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
"""Statuses with which a server of the older protocol refuses the first message of the newer one."""

ANSWERS: TypeAdapter[types.CallToolResult | types.InputRequiredResult] = TypeAdapter(
    types.CallToolResult | types.InputRequiredResult
)

T = TypeVar("T")

for _name in ("mcp", "httpx2"):  # they log what servers send, which may be anybody's data
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


class Session:
    """An open session with a server. A task of its own holds the connection, so any task may use it."""

    def __init__(self, server: ExternalServer) -> None:
        self._server = server
        self._transport: GuardedTransport | None = None
        self._closing = asyncio.Event()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner: asyncio.Task[None] | None = None
        self._client: Client | None = None

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""
        broken = self._transport is not None and self._transport.broken.done()
        return self._client is not None and not self._ended.done() and not broken

    async def open(self) -> None:
        """Connect to the server; ServerFailed."""
        server = self._server
        if isinstance(server, ProcessServer):
            await self._open(lambda: _process(server))
            return
        self._transport = transport = GuardedTransport(server.guard)
        try:
            await self._open(lambda: _streamable(server, transport))
        except ServerFailed:
            if transport.status not in LEGACY or transport.broken.done():
                raise
            self._transport = older = GuardedTransport(server.guard, needs_posts=True)
            try:
                await self._open(lambda: _events(server, older))
            except ServerFailed:
                if older.broken.done():
                    raise
            else:
                return
            raise

    async def _open(self, connect: Callable[[], Any]) -> None:
        opened: asyncio.Future[Client] = asyncio.get_running_loop().create_future()

        async def own() -> None:
            async with Client(_watched(connect(), self._ended), cache=None) as client:
                if not opened.done():
                    opened.set_result(client)
                await self._closing.wait()

        self._ended = asyncio.get_running_loop().create_future()
        self._owner = asyncio.create_task(own())
        self._owner.add_done_callback(_retrieve)
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await self._first(opened)
        except TimeoutError as exc:
            await self._drop()
            raise ServerFailed(f"The server did not answer within {OPEN_SECONDS:g} seconds.") from exc
        except BaseException:
            await self._drop()
            raise
        self._client = opened.result()

    async def list_tools(self) -> list[JSON]:
        """Return the server's tools, as an item of the type mcp_list_tools has them; ServerFailed."""
        return await self._ask(self._listed, LIST_SECONDS)

    async def call(self, name: str, arguments: JSON) -> CallResult:
        """Call a tool; ServerFailed."""

        async def ask(client: Client) -> CallResult:
            try:
                return await _called(client, name, arguments)
            except MCPError as exc:
                if exc.code != HEADER_MISMATCH:
                    raise
            await self._listed(client)  # which arguments are headers stands in the list
            return await _called(client, name, arguments)

        return await self._ask(ask, self._server.seconds)

    async def close(self) -> None:
        """End the session; a server that does not answer is left."""
        self._closing.set()
        if self._owner is not None:
            await asyncio.wait({self._owner}, timeout=CLOSE_SECONDS)
        await self._drop()

    async def _drop(self) -> None:
        owner = self._owner
        if owner is not None:
            owner.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await asyncio.wait({owner}, timeout=CLOSE_SECONDS)

    # --- requests ---

    async def _listed(self, client: Client) -> list[JSON]:
        tools: list[JSON] = []
        cursor, size = None, 0
        for _ in range(MAX_PAGES):
            page = await client.session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
            for tool in page.tools:
                tools.append(_tool(tool))
                size += _json_size(tools[-1])
            if len(tools) > MAX_TOOLS or size > MAX_LIST_BYTES:
                most = f"{MAX_TOOLS} tools or {MAX_LIST_BYTES // 1024} kB"
                raise ServerFailed(f"The server's list of tools is longer than {most}.")
            if page.next_cursor is None or page.next_cursor == cursor:
                return tools
            cursor = page.next_cursor
        raise ServerFailed(f"The server's list of tools has more than {MAX_PAGES} pages.")

    async def _ask(self, ask: Callable[[Client], Awaitable[T]], seconds: float) -> T:
        if self._client is None:
            raise RuntimeError("the session is not open")
        if self._transport is not None:
            self._transport.begin()
        asked = asyncio.ensure_future(ask(self._client))
        try:
            async with asyncio.timeout(seconds):
                await self._first(asked)
                return await asked
        except TimeoutError as exc:
            raise ServerFailed(f"The server did not answer within {seconds:g} seconds.") from exc
        finally:
            if not asked.done():
                asked.cancel()
                await asyncio.wait({asked}, timeout=CLOSE_SECONDS)

    async def _first(self, awaited: "asyncio.Future[Any]") -> None:
        """Wait for an answer; ServerFailed if it is an error, or if the session ends before it."""
        waited: set[asyncio.Future[Any]] = {awaited}
        if self._owner is not None:
            waited.add(self._owner)
        if self._transport is not None:
            waited.add(self._transport.broken)
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if awaited.done() and not awaited.cancelled() and awaited.exception() is None:
            return
        raise self._failure(awaited)

    def _failure(self, awaited: "asyncio.Future[Any]") -> ServerFailed:
        transport = self._transport
        status = (
            transport.status if transport is not None and transport.status >= HTTPStatus.BAD_REQUEST else None
        )
        if transport is not None and transport.broken.done():
            return ServerFailed(transport.broken.result(), status=status)
        for future in (awaited, self._owner):
            if future is not None and future.done() and not future.cancelled():
                exc = future.exception()
                if exc is not None:
                    return _failed(exc, status)
        return ServerFailed("The server ended the session.", status=status)


def _retrieve(owner: "asyncio.Task[None]") -> None:
    """Mark a task's error as seen: the requests that it has cut off report it."""
    if not owner.cancelled():
        owner.exception()


def _failed(exc: BaseException, status: int | None) -> ServerFailed:
    """Return the error of what the package raised."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    match exc:
        case ServerFailed():
            return exc
        case MCPError(message=message) if status is not None:
            return ServerFailed(message[:500], status=status)
        case MCPError(code=code, message=message):
            return ServerFailed(message[:500], code=code)
        case ProviderError():
            return ServerFailed(worded(exc))
        case Broken():
            return ServerFailed(str(exc))
        case httpx2.HTTPStatusError():
            code = exc.response.status_code
            return ServerFailed(f"The server answered with status {code}.", status=code)
        case ValidationError():
            return ServerFailed(f"The server's answer does not follow the protocol: {_first_error(exc)}.")
        case OSError():
            return ServerFailed(f"The server cannot be started: {exc.strerror or type(exc).__name__}.")
        case _:
            return ServerFailed(f"The server's answer cannot be read ({type(exc).__name__}).")


def _first_error(exc: ValidationError) -> str:
    error = exc.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"[:300]


async def _called(client: Client, name: str, arguments: JSON) -> CallResult:
    request = types.CallToolRequest(params=types.CallToolRequestParams(name=name, arguments=arguments))
    result = await client.session.send_request(request, ANSWERS)
    if isinstance(result, types.InputRequiredResult):
        raise ServerFailed("The tool asks for more input from its user, which this server does not pass on.")
    content = [block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in result.content]
    return call_result(content, result.structured_content, is_error=result.is_error)


def _json_size(tool: JSON) -> int:
    try:
        return len(orjson.dumps(tool))
    except TypeError as exc:  # such as an integer of more than 64 bits, which cannot be stored
        raise ServerFailed(f"The server's list of tools cannot be read: {exc}.") from exc


def _tool(tool: types.Tool) -> JSON:
    shown = tool.model_dump(mode="json", by_alias=True, exclude_none=True, include={"annotations"})
    return {
        "name": tool.name,
        "description": tool.description,
        "input_schema": tool.input_schema,
        "annotations": shown.get("annotations"),
    }


# --- connections ---


class _Received:
    """What a server sends; `ended` is set when nothing more comes."""

    def __init__(self, stream: Any, ended: "asyncio.Future[None]") -> None:
        self._stream = stream
        self._ended = ended

    @property
    def last_context(self) -> Any:
        """The context of the task that sent the last message."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> Any:
        """Return the next message."""
        return await self._stream.receive()

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._stream.__anext__()
        except BaseException:
            if not self._ended.done():
                self._ended.set_result(None)
            raise

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> bool | None:
        ended: bool | None = await self._stream.__aexit__(*error)
        return ended


@asynccontextmanager
async def _watched(connected: Any, ended: "asyncio.Future[None]") -> AsyncIterator[Any]:
    async with connected as (received, sent):
        yield _Received(received, ended), sent


@asynccontextmanager
async def _http(server: RemoteServer, transport: GuardedTransport) -> AsyncIterator[httpx2.AsyncClient]:
    timeout = httpx2.Timeout(READ_SECONDS)
    headers = {"user-agent": "astrolabe", **server.headers}
    async with httpx2.AsyncClient(
        transport=transport, headers=headers, timeout=timeout, trust_env=False
    ) as client:
        yield client


@asynccontextmanager
async def _streamable(server: RemoteServer, transport: GuardedTransport) -> AsyncIterator[Any]:
    async with (
        _http(server, transport) as client,
        streamable_http_client(server.url, http_client=client, max_sse_event_size=MAX_BYTES) as streams,
    ):
        yield streams


@asynccontextmanager
async def _events(server: RemoteServer, transport: GuardedTransport) -> AsyncIterator[Any]:
    def client(
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
    ) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            transport=transport, headers=headers, timeout=timeout, auth=auth, trust_env=False
        )

    headers = {"user-agent": "astrolabe", **server.headers}
    async with sse_client(
        server.url, headers, OPEN_SECONDS, READ_SECONDS, httpx_client_factory=client
    ) as streams:
        yield streams


@asynccontextmanager
async def _process(server: ProcessServer) -> AsyncIterator[Any]:
    parameters = StdioServerParameters(
        command=server.command, args=[*server.arguments], env=dict(server.environment), cwd=server.folder
    )
    with open(os.devnull, "w") as nowhere:  # noqa: ASYNC230, PTH123 - opens at once
        async with stdio_client(parameters, errlog=nowhere) as streams:
            yield streams
