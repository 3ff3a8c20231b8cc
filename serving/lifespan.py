"""A worker's life: opens its services after the fork, in order, and closes them at the stop."""

import asyncio
import gc
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from secrets import token_hex

import structlog

from handlers.context import Services
from persistence.errors import StoreError, StoreUnavailable
from persistence.store import Store
from serving.request import Receive, Scope, Send

SWEEP_SECONDS = 600.0
"""How often each worker has the store delete what has expired."""

log = structlog.get_logger("astrolabe.lifespan")


class Lifespan:
    """Answers ASGI's lifespan messages. A start that fails closes what it had opened."""

    def __init__(self, services: Services, *, grace: float, on_stopped: Callable[[], None]) -> None:
        self.may_start_later = False
        self._services = services
        self._grace = grace
        self._on_stopped = on_stopped
        self._opened = AsyncExitStack()
        self._stopping: asyncio.Task[None] | None = None

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
            await self._open(stack)
            self._opened = stack.pop_all()
        # What start-up made stays for good: keep the collector from walking it (86 ms a full one).
        gc.collect()
        gc.freeze()

    async def _open(self, stack: AsyncExitStack) -> None:
        """Open each service and register how it is closed, which happens in reverse order."""
        services = self._services
        await services.store.migrate()
        await services.store.open()
        stack.push_async_callback(services.store.close)
        await services.gateway.open()
        stack.push_async_callback(services.gateway.close)
        services.retrieval.open()
        stack.push_async_callback(services.retrieval.close)
        services.jobs.owner = owner_name()  # made after the fork: leases are a process's own
        await services.jobs.start()
        stack.push_async_callback(self._stop_jobs)
        sweeping = asyncio.create_task(sweep_forever(services.store))
        stack.callback(sweeping.cancel)

    def begin_stop(self) -> None:
        """Let running jobs end within the grace time, beside the streams that show them."""
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._services.jobs.stop(self._grace))

    async def _stop_jobs(self) -> None:
        self.begin_stop()
        if self._stopping is not None:
            await self._stopping

    async def _stop(self) -> None:
        await self._opened.aclose()
        self._on_stopped()


async def sweep_forever(store: Store) -> None:
    """Delete what has expired, now and then; a database that does not answer is asked again later."""
    while True:
        try:
            await store.sweep()
        except StoreError as exc:
            log.warning("sweep_failed", reason=str(exc))
        await asyncio.sleep(SWEEP_SECONDS)


def owner_name() -> str:
    """Return a name for this process's leases that no other process has, nor this one after a restart."""
    return f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}"
