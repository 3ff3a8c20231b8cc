"""Serves WebSockets: `/v1/responses` and `/v1/realtime` take one, every other path refuses it."""

from http import HTTPStatus

from handlers.errors import ApiError, NotFound, UpgradeRequired
from inference.gateway.realtime import ProviderSocket
from inference.responses.memory import ConnectionMemory
from serving.failures import stopping_error, to_api_error
from serving.realtime_session import RealtimeSession
from serving.request import UNMATCHED, Receive, Request, Scope, Send, receive_nothing
from serving.responses import error_response
from serving.routing import PREFIX
from serving.sending import common_headers
from serving.server_context import ServerContext
from serving.websocket_session import Session

PATH = PREFIX + "/responses"
OPERATION = "createResponse"

REALTIME_PATH = PREFIX + "/realtime"
REALTIME_OPERATION = "create-realtime-client-secret"

CONNECTIONS = {PATH: "connectResponses", REALTIME_PATH: "connectRealtime"}
"""What is logged as the operation of a connection; its messages are logged as those that they call."""

REALTIME_PROTOCOL = "realtime"
KEY_PROTOCOL = "openai-insecure-api-key."
"""The subprotocol of the Realtime API, and the one in which browsers, which set no headers, send a key."""

SWITCHING_PROTOCOLS = 101
"""The status that is logged for a connection that was opened, at its end."""

BAD_GATEWAY = 502
_STATUSES = frozenset(HTTPStatus)
"""The statuses that uvicorn can refuse a handshake with: a provider may have others, such as 520."""


class WebSocketServer:
    """Accepts or refuses each WebSocket, and keeps those that are open."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._sessions: set[Session | RealtimeSession] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        await receive()  # websocket.connect
        scope["method"] = "GET"
        _take_key(scope)
        request = self._context.requests(scope, receive_nothing)
        provider: ProviderSocket | None = None
        try:
            provider = await self._admit(request)
        except Exception as exc:  # noqa: BLE001 - the outermost edge: the client gets a response
            error = to_api_error(exc)
            await self._refuse(request, send, error)
            self._record(request, error.status)
            return
        finally:
            self._context.release(request)  # each of its messages holds a tenant's store by itself
        await self._serve(request, receive, send, provider)

    def begin_stop(self) -> None:
        """Close connections as soon as none of their responses is running."""
        for session in list(self._sessions):
            session.begin_stop()

    async def _admit(self, request: Request) -> ProviderSocket | None:
        """Run the stages of a request that are ahead of its body; raises an ApiError.

        Of a realtime connection the provider's WebSocket is open then.
        """
        self._context.check(request)
        if self._context.sending.interruptions.stopping:
            raise stopping_error()
        if request.path == REALTIME_PATH:
            return await self._context.pipeline.open_realtime(request, REALTIME_OPERATION)
        if request.path != PATH:
            paths = " and ".join(CONNECTIONS)
            raise UpgradeRequired(f"No WebSocket can be opened at {request.path}, only at {paths}.")
        try:
            route = await self._context.pipeline.admit(request, OPERATION)
        except NotFound:
            route = None
        if route is None or route.handler is None:
            raise UpgradeRequired(f"This server has no '{OPERATION}', so that no WebSocket can be opened.")
        return None

    async def _refuse(self, request: Request, send: Send, error: ApiError) -> None:
        response = error_response(error)
        headers = [*response.headers, *common_headers(request)]
        status = response.status if response.status in _STATUSES else BAD_GATEWAY
        await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": response.body})

    async def _serve(
        self, request: Request, receive: Receive, send: Send, provider: ProviderSocket | None
    ) -> None:
        session: Session | RealtimeSession
        accept = {"type": "websocket.accept", "headers": common_headers(request)}
        if provider is None:
            request.connection = ConnectionMemory()
            session = Session(self._context, request, receive, send, operation=OPERATION)
        else:
            session = RealtimeSession(self._context, request, receive, send, provider)
            if REALTIME_PROTOCOL in _subprotocols(request.scope):
                accept["subprotocol"] = REALTIME_PROTOCOL
        self._sessions.add(session)
        try:
            await send(accept)
            await session.run()
        finally:
            self._sessions.discard(session)
            if provider is not None:
                await provider.close()
            self._record(request, SWITCHING_PROTOCOLS)

    def _record(self, request: Request, status: int) -> None:
        request.operation_id = CONNECTIONS.get(request.path, UNMATCHED)
        self._context.access.record(request, status)


def _take_key(scope: Scope) -> None:
    """Make the key among a browser's subprotocols the request's Authorization."""
    keys = [name for name in _subprotocols(scope) if name.startswith(KEY_PROTOCOL)]
    if keys and all(name != b"authorization" for name, _ in scope["headers"]):
        key = keys[0].removeprefix(KEY_PROTOCOL).encode("latin-1", "replace")
        scope["headers"] = [*scope["headers"], (b"authorization", b"Bearer " + key)]


def _subprotocols(scope: Scope) -> list[str]:
    """Return the subprotocols that a client offers; the handshake's library does not see them."""
    offered = b",".join(value for name, value in scope["headers"] if name == b"sec-websocket-protocol")
    return [name.strip() for name in offered.decode("latin-1").split(",")]
