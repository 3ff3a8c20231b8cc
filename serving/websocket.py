"""Serves WebSockets: `/v1/responses` takes one, every other path refuses it."""

import structlog

from handlers.errors import ApiError, NotFound, UpgradeRequired
from inference.responses.memory import ConnectionMemory
from serving.access import AccessLog
from serving.browser_guard import BrowserGuard
from serving.failures import stopping_error, to_api_error
from serving.limits import HeldBodies, check_headers
from serving.pipeline import Pipeline
from serving.request import Receive, Request, Scope, Send, receive_nothing
from serving.request_factory import RequestFactory
from serving.responses import error_response
from serving.routing import PREFIX
from serving.sending import Sending, common_headers
from serving.websocket_session import Session

PATH = PREFIX + "/responses"
OPERATION = "createResponse"

CONNECTION = "connectResponses"
"""What is logged as the operation of a connection; its messages are logged as those that they call."""

SWITCHING_PROTOCOLS = 101
"""The status that is logged for a connection that was opened, at its end."""

log = structlog.get_logger("astrolabe.websocket")


class WebSocketServer:
    """Accepts or refuses each WebSocket, and keeps those that are open."""

    def __init__(
        self,
        *,
        requests: RequestFactory,
        pipeline: Pipeline,
        access: AccessLog,
        guard: BrowserGuard | None,
        held: HeldBodies,
        sending: Sending,
    ) -> None:
        self._requests = requests
        self._pipeline = pipeline
        self._access = access
        self._guard = guard
        self._held = held
        self._sending = sending
        self._sessions: set[Session] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        await receive()  # websocket.connect
        scope["method"] = "GET"
        request = self._requests(scope, receive_nothing)
        try:
            await self._admit(request)
        except Exception as exc:  # noqa: BLE001 - the outermost edge: the client gets a response
            error = to_api_error(exc)
            await self._refuse(request, send, error)
            self._record(request, error.status)
            return
        finally:
            if request.release is not None:  # each of its messages holds a tenant's store by itself
                request.release()
        await self._serve(request, receive, send)

    def begin_stop(self) -> None:
        """Close connections as soon as none of their responses is running."""
        for session in list(self._sessions):
            session.begin_stop()

    async def _admit(self, request: Request) -> None:
        """Run the stages of a request that are ahead of its body; raises an ApiError."""
        check_headers(request)
        if self._guard is not None:
            self._guard.check(request)
        if self._sending.interruptions.stopping:
            raise stopping_error()
        if request.path != PATH:
            raise UpgradeRequired(f"No WebSocket can be opened at {request.path}, only at {PATH}.")
        try:
            route = await self._pipeline.admit(request, OPERATION)
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
        session = Session(
            request,
            receive,
            send,
            operation=OPERATION,
            requests=self._requests,
            pipeline=self._pipeline,
            access=self._access,
            held=self._held,
            sending=self._sending,
        )
        await send({"type": "websocket.accept", "headers": common_headers(request)})
        self._sessions.add(session)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)
            self._record(request, SWITCHING_PROTOCOLS)

    def _record(self, request: Request, status: int) -> None:
        request.operation_id = CONNECTION
        self._access.record(request, status)
