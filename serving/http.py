"""Serves HTTP requests: Flask's hooks and error handlers around the pipeline, one log line each."""

import asyncio
from functools import partial

import structlog

from handlers.errors import ApiError, NotFound, ServerError
from serving.access import CLIENT_CLOSED_REQUEST, PROBE
from serving.environ import Environs
from serving.failures import revoked_error, stopping_error
from serving.flask_app import Flask, Match
from serving.interruptions import DISCONNECTED, REVOKED
from serving.probes import Probes
from serving.reading import ClientDisconnect
from serving.request import UNMATCHED, Receive, Request, Scope, Send
from serving.responses import JSON_TYPE, Response, error_response
from serving.routes import Route
from serving.routing import PREFIX
from serving.sending import Sender
from serving.server_context import ServerContext
from spec.errors import InvalidRequest

log = structlog.get_logger("astrolabe.http")


class HTTPServer:
    """Answers each HTTP request exactly once, whatever its stages raise."""

    def __init__(self, context: ServerContext, *, flask: Flask, probes: Probes) -> None:
        self._context = context
        self._flask = flask
        self._probes = probes
        self._access = context.access
        self._pipeline = context.pipeline
        self._sending = context.sending
        self._environs = Environs()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = self._context.requests(scope, receive)
        sender = Sender(request, send, self._sending)
        if request.method != "HEAD":
            request.open_stream = sender.open_stream
        try:
            response = await self._response(request)
            request.open_stream = None  # it refers to the sender, which refers to the request
            if response is None:
                sender.abandon()
                self._access.record(request, CLIENT_CLOSED_REQUEST)
                return
            await sender.send(response)
            self._access.record(request, response.status)
        finally:
            self._context.release(request)

    async def _response(self, request: Request) -> Response | None:
        """Return the response; None where the client has disconnected."""
        try:
            preflight = self._sending.cors.preflight(request)
            if preflight is not None:
                return preflight
            if not request.path.startswith(PREFIX + "/"):
                return await self._outside(request)
            return await self._operation(request)
        except ClientDisconnect:
            return None
        except asyncio.CancelledError as exc:
            if DISCONNECTED in exc.args:
                return None
            return error_response(revoked_error() if REVOKED in exc.args else stopping_error())
        except Exception as exc:
            log.error("request_failed", request_id=request.id, exc_info=exc)  # noqa: TRY400
            return error_response(ServerError("The server had an error while processing your request."))

    async def _outside(self, request: Request) -> Response:
        """Answer a path outside the API: a probe, or one of Flask's own routes (in a thread)."""
        probe = await self._probes.answer(request.path, stopping=self._sending.interruptions.stopping)
        if probe is not None:
            request.operation_id = PROBE
            status, body = probe
            return Response(status, [JSON_TYPE, (b"content-length", b"%d" % len(body))], body)
        try:
            self._context.check(request)
        except ApiError as exc:
            return error_response(exc)
        request.operation_id = self._flask.endpoint_of(request.method, request.path) or UNMATCHED
        environ = self._environs.make(request.scope)
        return Response.of_flask(await asyncio.to_thread(self._flask.full_response, environ))

    async def _operation(self, request: Request) -> Response:
        """Run an operation in Flask's context, between its hooks."""
        app = self._flask
        route: Route | None = None
        failure: Exception | None = None
        match: Match = (None, request.path_values)
        try:
            self._context.check(request)
            route = self._pipeline.routing.find(request)
        except (ApiError, InvalidRequest) as exc:
            failure = exc
        else:
            match = (route.rule, request.path_values)
        context = app.matched_context(partial(self._environs.make, request.scope), match)
        context.push()
        try:
            response = await self._hooked(request, route, failure)
            return response.with_hooks(app) if app.has_response_hooks else response
        finally:
            context.pop(None)

    async def _hooked(self, request: Request, route: Route | None, failure: Exception | None) -> Response:
        """Answer between Flask's before_request hooks and its error handlers."""
        app = self._flask
        try:
            early = app.preprocess_request()
            if early is not None:
                return Response.of_flask(app.make_response(early))
            return await self._pipeline.handle(request, _routed(route, failure))
        except (asyncio.CancelledError, ClientDisconnect):
            await self._pipeline.discard_uploads(request)
            raise
        except Exception as exc:  # noqa: BLE001 - the outermost edge: Flask's error handlers answer
            await self._pipeline.discard_uploads(request)
            return Response.of_flask(app.make_response(app.handle_user_exception(exc)))


def _routed(route: Route | None, failure: Exception | None) -> Route:
    """Return the route, or raise the routing error: inside the view, so that Flask's hooks see it too."""
    if route is None:
        raise failure or NotFound("Invalid URL")
    return route
