"""One open WebSocket: takes `response.create` messages and sends the events of their responses."""

import asyncio
import time
from asyncio import Future, Task, TimerHandle
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from handlers.context import SEND_AGAIN
from handlers.errors import ApiError, BadRequest
from persistence.types import JSON
from serving.access import CLIENT_CLOSED_REQUEST
from serving.body_checker import CHECKED_IN_LOOP
from serving.failures import revoked_error, stopping_error, to_api_error
from serving.interruptions import STOPPING
from serving.reading import ClientDisconnect
from serving.request import Message, Receive, Request, Send
from serving.responses import Pieces
from serving.routes import Route
from serving.server_context import ServerContext
from serving.websocket_events import (
    CREATE,
    ENVELOPE,
    body_of,
    error_event,
    error_text,
    events_of,
    message_type,
    stream_id_of,
    with_stream_id,
)
from spec.body import parse_json

MAX_RUNNING = 16
"""Responses that run at the same time on one connection, as at OpenAI."""

MAX_WAITING = 64
"""Messages that were read and are not answered; further ones are not read yet."""

MAX_LANES = 32
"""Lanes with a name on one connection, as at OpenAI."""

MAX_SECONDS = 3600.0
"""Age from which a connection takes no messages, as at OpenAI."""

CONNECTION_LIMIT = "websocket_connection_limit_reached"
"""The code of the error that a connection over that age ends with."""

GOING_AWAY, POLICY_VIOLATION, SERVICE_RESTART = 1001, 1008, 1012


def check_age(began: float) -> None:
    """Raise BadRequest for a connection that began, by the monotonic clock, too long ago."""
    if time.monotonic() - began > MAX_SECONDS:
        message = "This WebSocket has been open for 60 minutes. Open a new one to continue."
        raise BadRequest(message, code=CONNECTION_LIMIT)


@dataclass(slots=True)
class Create:
    """A message that asks for a response; `error` refuses it, else it has a route and a body."""

    request: Request
    stream_id: str | None = None
    route: Route | None = None
    body: JSON = field(default_factory=dict)
    error: ApiError | None = None


class Session:
    """One connection. Messages of one lane are answered one after another, lanes at the same time.

    An error is an event and leaves the connection open, except where its key is not valid any more.
    """

    def __init__(
        self, context: ServerContext, handshake: Request, receive: Receive, send: Send, *, operation: str
    ) -> None:
        self._context = context
        self._handshake = handshake
        self._receive = receive
        self._send = send
        self._operation = operation
        self._pipeline = context.pipeline
        self._interruptions = context.sending.interruptions
        self._metrics = context.sending.metrics
        self._began = time.monotonic()
        self._lanes: dict[str | None, Task[None] | None] = {}
        self._tasks: set[Task[None]] = set()
        self._running = asyncio.Semaphore(MAX_RUNNING)
        self._waiting = asyncio.Semaphore(MAX_WAITING)
        self._disconnected: Future[None] = asyncio.get_running_loop().create_future()
        self._is_closed = False
        self._timer: TimerHandle | None = None
        self._checking: Task[None] | None = None

    async def run(self) -> None:
        """Serve the connection to its end."""
        self._metrics.open_websockets.inc()
        self._check_later()
        try:
            while (message := await self._receive())["type"] != "websocket.disconnect":
                await self._take(message)
        except ClientDisconnect:
            pass
        finally:
            self._metrics.open_websockets.dec()
            self._set_disconnected()
            if self._timer is not None:
                self._timer.cancel()
            if self._checking is not None:
                self._checking.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    def begin_stop(self) -> None:
        """Close the connection as soon as no response is running."""
        if not self._tasks and not self._is_closed:
            self._start(self._close(SERVICE_RESTART))

    # --- messages ---

    async def _take(self, message: Message) -> None:
        """Start what a message asks for, once there is room for it."""
        await self._waiting.acquire()
        create = Create(self._context.requests.for_message(self._handshake, self._receive_disconnect))
        create.request.operation_id = self._operation
        is_create = True
        try:
            is_create = await self._read(create, message.get("text"))
        except Exception as exc:  # noqa: BLE001 - the outermost edge: an error is an event
            create.error = to_api_error(exc)
        if not is_create:
            self._release(create.request)
            return
        lane = create.stream_id
        task = self._start(self._answer_after(self._lanes.get(lane), create))
        if create.error is None or lane in self._lanes:
            self._lanes[lane] = task
            task.add_done_callback(lambda _: self._leave_lane(lane, task))

    async def _read(self, create: Create, text: str | None) -> bool:
        """Read a message; return whether it asks for a response. Raises as the stages of a request do."""
        check_age(self._began)
        if text is None:
            raise BadRequest("Binary frames are not supported: send JSON in text frames.")
        raw, parsed = text.encode(), None
        if len(raw) <= CHECKED_IN_LOOP:  # of a larger one the lane is known once it is checked
            parsed = parse_json(raw)
            create.stream_id = stream_id_of(parsed)
            if message_type(parsed) != CREATE:
                return False
        create.route = await self._pipeline.admit(create.request, self._operation)
        message = await self._pipeline.decode_message(create.request, create.route, raw, parsed, ENVELOPE)
        if message_type(message) != CREATE:
            return False
        create.stream_id = stream_id_of(message)
        self._check_lanes(create.stream_id)
        create.body = body_of(message)
        return True

    def _check_lanes(self, stream_id: str | None) -> None:
        named = len(self._lanes) - (None in self._lanes)
        if stream_id is not None and stream_id not in self._lanes and named >= MAX_LANES:
            raise BadRequest(
                f"This WebSocket has {MAX_LANES} values of 'stream_id' already: use one of them again, or "
                "open another WebSocket.",
                param="stream_id",
                code="websocket_stream_limit_reached",
            )

    # --- responses ---

    async def _answer_after(self, before: Task[None] | None, create: Create) -> None:
        """Send a response when the one ahead of it in its lane has ended."""
        status = CLIENT_CLOSED_REQUEST
        try:
            if before is not None:
                await asyncio.wait([before])
            async with self._running:
                if not self._disconnected.done():
                    status = await self._answer(create)
        except (asyncio.CancelledError, ClientDisconnect):
            return
        finally:
            self._context.access.record(create.request, status)
            self._release(create.request)

    def _leave_lane(self, stream_id: str | None, task: Task[None]) -> None:
        if self._lanes[stream_id] is task:
            self._lanes[stream_id] = None

    async def _answer(self, create: Create) -> int:
        """Send the events of a response; return the status that is logged."""
        body: bytes | Pieces = b""
        self._metrics.open_streams.inc()
        try:
            if create.error is not None:
                return await self._fail(create, create.error)
            assert create.route is not None  # noqa: S101 - set where there is no error
            if self._interruptions.stopping:
                raise stopping_error()  # noqa: TRY301 - answered as those below
            response = await self._pipeline.run(create.request, create.route, {"body": create.body})
            body = response.body
            if isinstance(body, bytes):
                await self._send_failure(create, error_event(response.status, orjson.loads(body)))
                return response.status
            with self._interruptions.interruptible(create.request.receive):
                await self._send_events(create, body)
        except asyncio.CancelledError as exc:
            if STOPPING not in exc.args:
                return CLIENT_CLOSED_REQUEST
            after_stop = body.after_stop if isinstance(body, Pieces) else SEND_AGAIN
            return await self._fail(create, stopping_error(after_stop))
        except ClientDisconnect:
            return CLIENT_CLOSED_REQUEST
        except Exception as exc:  # noqa: BLE001 - the outermost edge: an error is an event
            return await self._fail(create, to_api_error(exc))
        finally:
            self._metrics.open_streams.dec()
            if isinstance(body, Pieces):
                await body.close()
        return response.status

    async def _send_events(self, create: Create, pieces: Pieces) -> None:
        request = create.request
        async for piece in pieces:
            for text, has_failed in events_of(piece):
                if has_failed:
                    self._discard_previous(create)
                await self._send_text(with_stream_id(text, create.stream_id))
                request.sent += len(text)

    async def _fail(self, create: Create, error: ApiError) -> int:
        await self._send_failure(create, error_text(error))
        if error.status == 401:
            await self._close(POLICY_VIOLATION)
        elif error.code == CONNECTION_LIMIT:
            await self._close(GOING_AWAY)
        return error.status

    async def _send_failure(self, create: Create, text: str) -> None:
        self._discard_previous(create)
        await self._send_text(with_stream_id(text, create.stream_id))

    def _discard_previous(self, create: Create) -> None:
        """Discard the response that could not be continued, as OpenAI does."""
        previous, memory = create.body.get("previous_response_id"), self._handshake.connection
        if isinstance(previous, str) and memory is not None:
            memory.discard(previous)

    def _release(self, request: Request) -> None:
        self._waiting.release()
        self._context.release(request)

    # --- the connection ---

    def _start(self, work: Coroutine[Any, Any, None]) -> Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_end)
        return task

    def _on_end(self, task: Task[None]) -> None:
        self._tasks.discard(task)
        if self._interruptions.stopping:
            self.begin_stop()

    async def _receive_disconnect(self) -> Message:
        """Return once the client has disconnected, which ends the calls and streams of its responses."""
        await asyncio.wait([self._disconnected])
        return {"type": "http.disconnect"}

    def _set_disconnected(self) -> None:
        if not self._disconnected.done():
            self._disconnected.set_result(None)

    async def _send_text(self, text: str) -> None:
        try:
            await self._send({"type": "websocket.send", "text": text})
        except OSError as exc:
            self._set_disconnected()
            raise ClientDisconnect from exc

    async def _close(self, code: int) -> None:
        """Close the connection, unless it is."""
        if not self._is_closed and not self._disconnected.done():
            self._is_closed = True
            with suppress(OSError):
                await self._send({"type": "websocket.close", "code": code})

    def _check_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._context.sending.keep_alive / 2, self._on_check)

    def _on_check(self) -> None:
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check())
        self._check_later()

    async def _check(self) -> None:
        """Close a connection that nothing runs on if it is too old, and any whose key was revoked."""
        with suppress(ClientDisconnect):
            if not await self._pipeline.has_valid_key(self._handshake):
                await self._send_text(error_text(revoked_error()))
                await self._close(POLICY_VIOLATION)
            elif not self._tasks:
                await self._close_if_old()

    async def _close_if_old(self) -> None:
        try:
            check_age(self._began)
        except BadRequest as error:
            await self._send_text(error_text(error))
            await self._close(GOING_AWAY)
