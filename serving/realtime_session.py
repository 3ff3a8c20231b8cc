"""One WebSocket of the Realtime API: relays messages between a client and its provider."""

import asyncio
import time
from contextlib import suppress

from handlers.errors import ApiError, BadRequest
from inference.gateway import failures
from inference.gateway.realtime import ABNORMAL, INTERNAL_ERROR, NO_STATUS, NORMAL, ProviderSocket
from serving.failures import revoked_error, to_api_error
from serving.reading import ClientDisconnect
from serving.request import Receive, Request, Send
from serving.server_context import ServerContext
from serving.websocket_events import error_text
from serving.websocket_session import GOING_AWAY, POLICY_VIOLATION, SERVICE_RESTART, check_age

LONGEST_REASON = 123
"""Bytes of the reason in a close frame."""


class RealtimeSession:
    """One connection. Neither side is read faster than the other one takes its messages."""

    def __init__(
        self,
        context: ServerContext,
        handshake: Request,
        receive: Receive,
        send: Send,
        provider: ProviderSocket,
    ) -> None:
        self._context = context
        self._handshake = handshake
        self._receive = receive
        self._send = send
        self._provider = provider
        self._began = time.monotonic()
        self._is_stopping = asyncio.Event()

    async def run(self) -> None:
        """Relay until one side has closed; then close the other one."""
        metrics = self._context.sending.metrics
        metrics.open_websockets.inc()
        tasks = [
            asyncio.create_task(each)
            for each in (self._to_provider(), self._to_client(), self._watch(), self._stop())
        ]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            metrics.open_websockets.dec()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._provider.close()
        for task in ended:
            with suppress(ClientDisconnect):
                await task

    def begin_stop(self) -> None:
        """Close the connection: the server stops."""
        self._is_stopping.set()

    async def _to_provider(self) -> None:
        """Send the client's messages; its close goes on to the provider."""
        while (message := await self._receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            await self._provider.send(message["bytes"] if text is None else text)
        await self._provider.close(message.get("code") or NO_STATUS)

    async def _to_client(self) -> None:
        """Send the provider's messages; its close goes on to the client."""
        async for message in self._provider:
            await self._send_message(message)
        code = self._provider.close_code
        if code == ABNORMAL:
            await self._send_message(error_text(to_api_error(failures.cut_off())))
        shown = {NO_STATUS: NORMAL, ABNORMAL: INTERNAL_ERROR}.get(code, code)
        await self._close(shown, self._provider.close_reason)

    async def _watch(self) -> None:
        """Return when the connection is too old, or its key was revoked."""
        while True:
            await asyncio.sleep(self._context.sending.keep_alive / 2)
            if not await self._context.pipeline.has_valid_key(self._handshake):
                await self._end(revoked_error(), POLICY_VIOLATION)
                return
            try:
                check_age(self._began)
            except BadRequest as error:
                await self._end(error, GOING_AWAY)
                return

    async def _stop(self) -> None:
        await self._is_stopping.wait()
        await self._close(SERVICE_RESTART)

    async def _end(self, error: ApiError, code: int) -> None:
        with suppress(ClientDisconnect):
            await self._send_message(error_text(error))
            await self._close(code)

    async def _send_message(self, message: str | bytes) -> None:
        kind = "text" if isinstance(message, str) else "bytes"
        try:
            await self._send({"type": "websocket.send", kind: message})
        except OSError as exc:
            raise ClientDisconnect from exc
        self._handshake.sent += len(message)

    async def _close(self, code: int, reason: str = "") -> None:
        shown = reason.encode()[:LONGEST_REASON].decode("utf-8", "ignore")
        with suppress(OSError):
            await self._send({"type": "websocket.close", "code": code, "reason": shown})
