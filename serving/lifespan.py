"""A worker's life: opens its services after the fork, in order, and closes them at the stop."""

import gc
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from persistence.errors import StoreUnavailable
from persistence.types import JSON
from serving.request import Receive, Scope, Send

YOUNG_OBJECTS = 10_000
"""Objects made between two collections. Requests leave no cycles behind, and at Python's 700 the
collector walks the open requests over and over (3 % of the CPU of a chat completion)."""

SWITCH_INTERVAL = 0.0005
"""Seconds after which a busy thread lets another one run Python. At Python's 5 ms the event loop waits
that long each time it wakes up while a thread decodes a body: a timer of 1 ms is late by 7 to 12 ms instead
of 1.4 to 3.2 (medians of six rounds each, alternating)."""

log = structlog.get_logger("astrolabe.lifespan")


@dataclass(frozen=True, slots=True)
class Service:
    """How a worker opens and closes a service, and how /readyz asks it.

    `ping` raises if the service cannot work, and may return what /readyz shows of it. `begin_stop`
    is called ahead of `close`, while requests still end; `stop_at_once` ends the time that it gives.
    """

    name: str
    open: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
    ping: Callable[[], Awaitable[JSON | None]] | None = None
    begin_stop: Callable[[], None] | None = None
    stop_at_once: Callable[[], None] | None = None


class Lifespan:
    """Answers ASGI's lifespan messages. A start that fails closes what it had opened."""

    def __init__(self, services: Sequence[Service], *, on_stopped: Callable[[], None]) -> None:
        self.may_start_later = False
        self._services = services
        self._on_stopped = on_stopped
        self._opened = AsyncExitStack()

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Start, wait, stop."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._answer(send, "startup", self._start)
            else:
                await self._answer(send, "shutdown", self._stop)
                return

    async def _answer(self, send: Send, phase: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as exc:
            log.exception("lifespan_failed", phase=phase)
            self.may_start_later = isinstance(exc, StoreUnavailable)
            await send({"type": f"lifespan.{phase}.failed", "message": str(exc)})
        else:
            await send({"type": f"lifespan.{phase}.complete"})

    async def _start(self) -> None:
        async with AsyncExitStack() as stack:
            for service in self._services:
                await service.open()
                stack.push_async_callback(service.close)
            self._opened = stack.pop_all()
        # Objects made at start-up live as long as the worker: keep the collector from walking them
        # (86 ms for a full collection).
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        sys.setswitchinterval(SWITCH_INTERVAL)

    def begin_stop(self) -> None:
        """Have services stop what may run on beside the last requests."""
        for service in self._services:
            if service.begin_stop is not None:
                service.begin_stop()

    def stop_at_once(self) -> None:
        """Have services end the grace time of a stop that has begun."""
        for service in self._services:
            if service.stop_at_once is not None:
                service.stop_at_once()

    async def _stop(self) -> None:
        await self._opened.aclose()
        self._on_stopped()
