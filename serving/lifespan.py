"""A worker's life: opens its parts after the fork, in order, and closes them at the stop."""

import asyncio
import gc
import os
import socket
from secrets import token_hex
from typing import Any

import structlog

from handlers.context import Services
from persistence.errors import StoreError, StoreUnavailable
from serving.wire import Receive, Scope, Send

SWEEP_SECONDS = 600.0
"""How often each worker has the store drop what has had its time."""


class Lifespan:
    """Answers ASGI's lifespan messages."""

    def __init__(self, services: Services, *, grace: float) -> None:
        self._services = services
        self._grace = grace
        self._sweeping: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self.may_start_later = False
        self._log = structlog.get_logger("astrolabe.lifespan")

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Start, wait, stop."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._answer(send, "startup", self._start)
            else:
                await self._answer(send, "shutdown", self._stop)
                return

    async def _answer(self, send: Send, phase: str, work: Any) -> None:
        try:
            await work()
        except Exception as exc:  # noqa: BLE001 - the server is told, and stops
            self._log.error("lifespan failed", phase=phase, exc_info=exc)
            self.may_start_later = isinstance(exc, StoreUnavailable)
            await send({"type": f"lifespan.{phase}.failed", "message": str(exc)})
        else:
            await send({"type": f"lifespan.{phase}.complete"})

    async def _start(self) -> None:
        services = self._services
        await services.store.migrate()
        await services.store.open()
        await services.gateway.open()
        services.jobs.owner = owner_name()  # made after the fork: leases are a process's own
        await services.jobs.start()
        self._sweeping = asyncio.create_task(self._sweep())
        # What start-up made stays for good: keep the collector from walking it (86 ms a full one).
        gc.collect()
        gc.freeze()

    def begin_stop(self) -> None:
        """Let running jobs end within the grace time, beside the streams that show them."""
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._services.jobs.stop(self._grace))

    async def _sweep(self) -> None:
        """Drop what is too old, now and then; a database that does not answer is asked again later."""
        while True:
            try:
                await self._services.store.sweep()
            except StoreError as exc:
                self._log.warning("the store was not swept", reason=str(exc))
            await asyncio.sleep(SWEEP_SECONDS)

    async def _stop(self) -> None:
        self.begin_stop()
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._stopping is not None:
            await self._stopping
        await self._services.retrieval.close()
        await self._services.gateway.close()
        await self._services.store.close()


def owner_name() -> str:
    """A name for this process's leases that no other process has, nor this one after a restart."""
    return f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}"
