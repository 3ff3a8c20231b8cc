"""Serves WebSockets: `/v1/responses` takes one, every other path refuses it."""

from handlers.errors import ApiError, NotFound, UpgradeRequired
from inference.responses.memory import ConnectionMemory
from serving.failures import stopping_error, to_api_error
from serving.request import Receive, Request, Scope, Send, receive_nothing
from serving.responses import error_response
from serving.routing import PREFIX
from serving.sending import common_headers
from serving.server_context import ServerContext
from serving.websocket_session import Session

PATH = PREFIX + "/responses"
OPERATION = "createResponse"

CONNECTION = "connectResponses"
"""What is logged as the operation of a connection; its messages are logged as those that they call."""

SWITCHING_PROTOCOLS = 101
"""The status that is logged for a connection that was opened, at its end."""


class WebSocketServer:
    """Accepts or refuses each WebSocket, and keeps those that are open."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._sessions: set[Session] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        await receive()  # websocket.connect
        scope["method"] = "GET"
        request = self._context.requests(scope, receive_nothing)
        try:
            await self._admit(request)
        except Exception as exc:  # noqa: BLE001 - the outermost edge: the client gets a response
            error = to_api_error(exc)
            await self._refuse(request, send, error)
            self._record(request, error.status)
            return
        finally:
            self._context.release(request)  # each of its messages holds a tenant's store by itself
        await self._serve(request, receive, send)

    def begin_stop(self) -> None:
        """Close connections as soon as none of their responses is running."""
        for session in list(self._sessions):
            session.begin_stop()

    async def _admit(self, request: Request) -> None:
        """Run the stages of a request that are ahead of its body; raises an ApiError."""
        self._context.check(request)
        if self._context.sending.interruptions.stopping:
            raise stopping_error()
        if request.path != PATH:
            raise UpgradeRequired(f"No WebSocket can be opened at {request.path}, only at {PATH}.")
        try:
            route = await self._context.pipeline.admit(request, OPERATION)
        except NotFound:
            route = None
        if route is None or route.handler is None:
            raise UpgradeRequired(f"This server has no '{OPERATION}', so that no WebSocket can be opened.")

    async def _refuse(self, request: Request, send: Send, error: ApiError) -> None:
        response = error_response(error)
        headers = [*response.headers, *common_headers(request)]
        await send({"type": "websocket.http.response.start", "status": response.status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": response.body})

    async def _serve(self, request: Request, receive: Receive, send: Send) -> None:
        request.connection = ConnectionMemory()
        session = Session(self._context, request, receive, send, operation=OPERATION)
        await send({"type": "websocket.accept", "headers": common_headers(request)})
        self._sessions.add(session)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)
            self._record(request, SWITCHING_PROTOCOLS)

    def _record(self, request: Request, status: int) -> None:
        request.operation_id = CONNECTION
        self._context.access.record(request, status)
