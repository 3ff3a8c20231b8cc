"""One request's way: match, Flask's context, key, body, validation, view, validation, answer."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from handlers.context import Binary, Context, Principal, Relayed, Stream, Uploaded
from handlers.errors import (
    ApiError,
    MethodNotAllowed,
    NotFound,
    NotImplementedYet,
    ServerError,
    TooLarge,
)
from persistence.errors import StoreError
from serving.bodies import ClientGone, MultipartReader, boundary_of, pieces, read_whole
from serving.flask_app import Flask, Match
from serving.replies import (
    HUNG_UP,
    Pieces,
    Reply,
    begin_reply,
    cancel_on_hang_up,
    error_reply,
    send_pieces,
    stopping,
    whole_reply,
)
from serving.wire import Headers, Receive, Scope, Send, encode_headers
from spec.body import parse_json
from spec.errors import InvalidRequest, InvalidResponse, PathNotFound
from spec.errors import MethodNotAllowed as WrongMethod
from spec.operation import Body, Operation
from spec.parameters import split_query

if TYPE_CHECKING:
    from serving.dispatcher import Dispatcher, Route, Served

PREFIX = "/v1"
MULTIPART = "multipart/form-data"
JSON_TYPE = "application/json"
API_VERSION = b"2020-10-01"

CHECKED_IN_LOOP = 256 * 1024
"""Bytes of a JSON body that is parsed and checked in the loop; a larger one would hold up the others."""

WATCH_AFTER = 0.25
"""Seconds after which a request that is still running is watched for a client that hung up."""

CLIENT_GONE = 499
"""What is logged and counted of a request whose client did not wait; nginx made the number known."""

ANYBODY = Principal("")
"""The principal of operations that need no key."""

log = structlog.get_logger("astrolabe.exchange")


class Exchange:
    """One request and its answer."""

    __slots__ = (
        "_dispatcher", "_headers", "_operation_id", "_principal", "_receive", "_received", "_request_id",
        "_route", "_scope", "_send", "_sent", "_started", "_uploads",
    )  # fmt: skip

    def __init__(self, dispatcher: "Dispatcher", scope: Scope, receive: Receive, send: Send) -> None:
        self._started = time.perf_counter()
        self._dispatcher = dispatcher
        self._scope = scope
        self._receive = receive
        self._send = send
        self._headers = Headers(scope)
        self._request_id = dispatcher.new_request_id()
        self._operation_id = "unmatched"
        self._route: Route | None = None
        self._principal = ANYBODY
        self._received = 0
        self._sent = 0
        self._uploads: list[Uploaded] = []

    async def run(self) -> None:
        """Answer the request."""
        try:
            reply = await self._reply()
        except ClientGone:
            self._account(CLIENT_GONE)
            return
        except asyncio.CancelledError as exc:
            if HUNG_UP in exc.args:
                self._account(CLIENT_GONE)
                return
            reply = error_reply(stopping())
        except Exception as exc:
            log.error("request failed", request_id=self._request_id, exc_info=exc)  # noqa: TRY400
            reply = error_reply(ServerError("The server had an error while processing your request."))
        if self._scope["method"] == "HEAD":
            await self._send_head(reply)
        elif isinstance(reply.body, Pieces):
            await self._send_pieces(reply, reply.body)
        else:
            await self._send_start(reply)
            await self._send({"type": "http.response.body", "body": reply.body})
            self._sent = len(reply.body)
        self._account(reply.status)

    # --- to the view ---

    async def _reply(self) -> Reply:
        app = self._dispatcher.flask
        environ = partial(self._dispatcher.environs.make, self._scope)
        if not self._scope["path"].startswith(PREFIX + "/"):
            return await self._outside(app, environ())
        served = self._dispatcher.served(self._scope)
        arguments: dict[str, str] = {}
        failure: Exception | None = None
        match: Match = (None, arguments)
        try:
            self._route, arguments = self._match(served)
        except (ApiError, InvalidRequest) as exc:
            failure = exc
        else:
            self._operation_id = self._route.operation.id
            match = (self._route.rule, arguments)
        context = app.matched_context(environ, match)
        context.push()
        try:
            reply = await self._hooked(app, served, arguments, failure)
            return reply.hooked(app) if app.has_response_hooks else reply
        finally:
            context.pop(None)

    async def _outside(self, app: Flask, environ: dict[str, Any]) -> Reply:
        """A path outside the API: a probe, or one of Flask's own routes (on a thread, as Flask's are)."""
        path, stopping = self._scope["path"], self._dispatcher.stopping
        probe = await self._dispatcher.probes.answer(path, stopping=stopping)
        if probe is not None:
            self._operation_id = "probe"
            status, body = probe
            return Reply(status, [("content-type", JSON_TYPE), ("content-length", str(len(body)))], body)
        return Reply.of(await asyncio.to_thread(app.full_response, environ))

    def _match(self, served: "Served") -> "tuple[Route, dict[str, str]]":
        method, path = self._scope["method"], self._scope["path"]
        raw = (self._scope.get("raw_path") or path.encode()).decode("latin-1").partition("?")[0]
        query = self._scope["query_string"].decode("latin-1")
        try:
            operation, arguments = served.router.match(method, raw[len(PREFIX) :], query)
        except PathNotFound as exc:
            raise NotFound(f"Invalid URL ({method} {path})") from exc
        except WrongMethod as exc:
            allowed = ", ".join(exc.allow)
            raise MethodNotAllowed(
                f"Not allowed to {method} on {path}. Allowed: {allowed}.",
                code="method_not_supported",
                headers={"Allow": allowed},
            ) from exc
        return served.routes[operation.id], arguments

    async def _hooked(
        self, app: Flask, served: "Served", arguments: dict[str, str], failure: Exception | None
    ) -> Reply:
        """The view between Flask's before_request hooks and its error handlers."""
        try:
            early = app.preprocess_request()
            if early is not None:
                return Reply.of(app.make_response(early))
            return await self._view(_routed(self._route, failure), served, arguments)
        except (asyncio.CancelledError, ClientGone):
            await self._forget_uploads()
            raise
        except Exception as exc:  # noqa: BLE001 - the outermost edge: Flask's error handlers answer
            await self._forget_uploads()
            return Reply.of(app.make_response(app.handle_user_exception(exc)))

    async def _view(self, route: "Route", served: "Served", path_values: dict[str, str]) -> Reply:
        operation = route.operation
        if not route.is_public:
            authorization = self._headers.raw(b"authorization")
            self._principal = await self._dispatcher.authenticator.authenticate(authorization)
        if route.handler is None:
            raise NotImplementedYet(
                f"'{operation.id}' ({operation.method} {PREFIX}{operation.path}) of edition "
                f"{served.edition.name} is not implemented by this server."
            )
        arguments = operation.decode_path(path_values)
        arguments.update(operation.decode_query(self._scope["query_string"]))
        body = await self._body(operation)
        if body is not None:
            arguments["body"] = body
        if route.parameters is not None:
            arguments = {name: value for name, value in arguments.items() if name in route.parameters}
        context = Context(
            services=self._dispatcher.services,
            principal=self._principal,
            operation_id=operation.id,
            edition=served.edition.name,
            request_id=self._request_id,
            headers=self._headers,
            assistants_v1=served.assistants_v1,
        )
        if not route.waits:
            return await self._answer(route, context, arguments)
        with self._watched():
            return await self._answer(route, context, arguments)

    async def _answer(self, route: "Route", context: Context, arguments: dict[str, Any]) -> Reply:
        """What the handler returns, as a reply; streams are begun, so that they can still fail."""
        assert route.handler is not None  # noqa: S101 - _view has answered 501
        answer = await route.handler(context, **arguments)
        if isinstance(answer, Stream | Binary):
            return await begin_reply(answer)
        value, origin = (answer.value, "provider") if isinstance(answer, Relayed) else (answer, "server")
        self._check(route, value, origin)
        return whole_reply(value, route.status)

    # --- the body ---

    async def _body(self, operation: Operation) -> Any:
        """The request's body, decoded and valid; None where the operation takes none or got none."""
        if not operation.bodies:
            return None
        declared = self._headers.raw(b"content-length")
        length = int(declared) if declared.isdigit() else None
        is_empty = not length and "transfer-encoding" not in self._headers
        if is_empty and not operation.body_required:
            return None
        body = operation.body(self._headers.get("content-type", ""))
        if body.media == MULTIPART:
            return await self._form(body, length)
        raw = await read_whole(self._receive, self._principal.limits.body, length)
        self._received = len(raw)
        if body.media != JSON_TYPE:
            return body.decode(split_query(raw))
        if len(raw) <= CHECKED_IN_LOOP:
            return _checked(raw, body)
        return await asyncio.to_thread(_checked, raw, body)

    async def _form(self, body: Body, length: int | None) -> dict[str, Any]:
        """A multipart body as a dict; its files stand in the store already, as `Uploaded`."""
        limits, store = self._principal.limits, self._dispatcher.services.store
        boundary = boundary_of(self._headers.get("content-type", ""))
        reader = MultipartReader(store, self._principal.project, boundary, body.takes_file, limits.body)
        form = await reader.read(pieces(self._receive, limits.file + limits.body, length))
        self._received = form.size
        self._uploads = form.files
        for name, value in form.fields:
            if isinstance(value, Uploaded) and value.size > limits.file:
                raise TooLarge(
                    f"'{name}' is larger than this server's limit of {limits.file} bytes.",
                    param=name,
                    code="request_too_large",
                )
        return body.decode(form.fields)

    async def _forget_uploads(self) -> None:
        """Take back what a request that failed has brought into the store.

        Where that fails too, the client is to hear of the first failure, not of this one.
        """
        for upload in self._uploads:
            try:
                await self._dispatcher.services.store.delete_content(
                    self._principal.project, upload.content_id
                )
            except StoreError as exc:
                log.warning("upload not taken back", content=upload.content_id, reason=str(exc))

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Cancel a handler that waits for a provider when its client hangs up."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - the server runs each request in a task
        loop = asyncio.get_running_loop()
        watchers: list[asyncio.Task[None]] = []
        interruptible = self._dispatcher.interruptible

        def watch() -> None:
            watchers.append(loop.create_task(cancel_on_hang_up(self._receive, task)))

        # Most answers are there before a watcher would pay: a timer costs 1 µs, a task 20.
        timer = loop.call_later(WATCH_AFTER, watch)
        interruptible.add(task)
        try:
            yield
        finally:
            interruptible.discard(task)
            timer.cancel()
            for watcher in watchers:
                watcher.cancel()

    # --- the answer ---

    def _check(self, route: "Route", value: Any, origin: str) -> None:
        """Hold the answer against the edition; what does not fit is a bug of ours, or the provider's."""
        validator = route.validator
        if validator is None:
            return
        if origin == "provider":
            validator = validator.relayed
            validator.complete(value)
        try:
            validator.check(value)
        except InvalidResponse as exc:
            self._unconforming(route.operation.id, origin, exc)

    def _unconforming(self, operation: str, origin: str, reason: InvalidResponse) -> None:
        self._dispatcher.metrics.unconforming(operation, origin)
        log.warning("unconforming answer", operation=operation, origin=origin, reason=reason.message)
        if origin == "server" and self._dispatcher.strict:
            raise ServerError(f"The answer of '{operation}' does not fit the edition: {reason}")

    async def _send_start(self, reply: Reply) -> None:
        milliseconds = (time.perf_counter() - self._started) * 1000
        headers = encode_headers(reply.headers)
        headers.append((b"x-request-id", self._request_id.encode()))
        headers.append((b"openai-processing-ms", b"%d" % milliseconds))
        headers.append((b"openai-version", API_VERSION))
        headers.append((b"x-content-type-options", b"nosniff"))
        if self._principal.project:
            headers.append((b"openai-project", self._principal.project.encode()))
        await self._send({"type": "http.response.start", "status": reply.status, "headers": headers})

    async def _send_head(self, reply: Reply) -> None:
        """Send what GET's answer would begin with, and nothing of its body."""
        if isinstance(reply.body, Pieces):
            await reply.body.close()
        await self._send_start(reply)
        await self._send({"type": "http.response.body", "body": b""})

    async def _send_pieces(self, reply: Reply, body: Pieces) -> None:
        """Send to the end, to the client's hang-up, or to the server's stop."""
        dispatcher, task = self._dispatcher, asyncio.current_task()
        assert task is not None  # noqa: S101 - the server runs each request in a task
        watcher = asyncio.create_task(cancel_on_hang_up(self._receive, task))
        dispatcher.interruptible.add(task)
        dispatcher.metrics.open_streams.inc()
        try:
            await self._send_start(reply)
            await send_pieces(self._send, body, self._count_sent, self._log_failure)
        finally:
            watcher.cancel()
            dispatcher.interruptible.discard(task)
            dispatcher.metrics.open_streams.dec()
            await body.close()

    def _count_sent(self, size: int) -> None:
        self._sent += size

    def _log_failure(self, exc: BaseException) -> None:
        log.error(
            "stream failed",
            operation=self._operation_id,
            request_id=self._request_id,
            error=type(exc).__name__,
        )

    def _account(self, status: int) -> None:
        """Count and log the exchange: what, for whom, how long; never its contents."""
        seconds = time.perf_counter() - self._started
        self._dispatcher.metrics.exchanged(self._operation_id, status, seconds, self._received, self._sent)
        request_log = self._dispatcher.log
        if request_log.enabled and self._operation_id != "probe":
            request_log.line(
                event="request",
                operation=self._operation_id,
                method=self._scope["method"],
                status=status,
                seconds=round(seconds, 6),
                received=self._received,
                sent=self._sent,
                project=self._principal.project,
                request_id=self._request_id,
                at=time.time(),
            )


def _routed(route: "Route | None", failure: Exception | None) -> "Route":
    """The route, or the failure to find one: raised only now, so that Flask's hooks see it too."""
    if route is None:
        raise failure or NotFound("Invalid URL")
    return route


def _checked(raw: bytes, body: Body) -> Any:
    value = parse_json(raw)
    body.check(value)
    return value
