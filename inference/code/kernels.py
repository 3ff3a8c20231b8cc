"""The sandboxes that this worker runs for its projects; the one that is idle for longest makes room."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import structlog

from inference.code.driver import SandboxUnavailable
from inference.code.kernel import Kernel
from inference.code.sandboxes import Sandboxes, sandboxes_of_machine
from inference.fair_slots import FairSlots

SLOT_SECONDS = 60.0
"""Seconds for which a call waits while all sandboxes that its project may use run code."""

KernelKey = tuple[str, str, str]
"""Whose container (a `Containers` of this process), its project and its id."""

log = structlog.get_logger("astrolabe.sandbox")


@dataclass(slots=True, eq=False)
class RunningKernel:
    """A container's sandbox in this worker, if it has one, with the files that are in it.

    `contents` are the contents of the store by path, `seen` is size and time of change of each file as
    they were after the last call. `users` hold or wait for the kernel; `is_held` says that one holds it.
    """

    kernel: Kernel | None = None
    contents: dict[str, str] = field(default_factory=dict)
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)
    is_fresh: bool = False
    runs_code: bool = False
    is_held: bool = False
    users: int = 0
    last_used: float = field(default_factory=time.monotonic)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_alive(self) -> bool:
        """Whether there is a sandbox that runs."""
        return self.kernel is not None and self.kernel.is_alive

    async def close(self) -> None:
        """End the sandbox, if there is one."""
        kernel, self.kernel = self.kernel, None
        self.contents, self.seen = {}, {}
        if kernel is not None:
            await kernel.close()


class Kernels:
    """Starts and keeps the sandboxes of this worker's containers.

    `most` bounds their number on this machine. This worker may always have `share` of them, and more while
    others leave them free. At a time it runs code in `share` of them, a project alone in half of these
    (`FairSlots`).
    """

    def __init__(self, sandboxes: Sandboxes, most: int, share: int | None = None) -> None:
        self.sandboxes = sandboxes
        self._most = most
        self._share = share or most
        self._running: dict[KernelKey, RunningKernel] = {}
        self._starting = 0
        self._slots = FairSlots(self._share)

    @asynccontextmanager
    async def hold(self, key: KernelKey) -> AsyncIterator[RunningKernel]:
        """Hold a container's kernel, started or not, while no other task has it; raise SandboxUnavailable.

        A task that is cancelled may leave the kernel within a request about a file: then it is closed. Code
        is interrupted, and the kernel stays.
        """
        running = self._running.setdefault(key, RunningKernel())
        running.users += 1
        try:
            async with running.lock, self._slot(key):
                running.is_held = True
                try:
                    yield running
                except asyncio.CancelledError:
                    if not running.runs_code:
                        await running.close()
                    raise
                finally:
                    running.is_held = running.runs_code = False
        finally:
            running.users -= 1
            running.last_used = time.monotonic()
            if not running.users and not running.is_alive and self._running.get(key) is running:
                del self._running[key]

    @asynccontextmanager
    async def _slot(self, key: KernelKey) -> AsyncIterator[None]:
        """Hold one of the project's slots; raise SandboxUnavailable if none gets free in time."""
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(SLOT_SECONDS):
                    await stack.enter_async_context(self._slots.hold("/".join(key[:2])))
            except TimeoutError as exc:
                raise SandboxUnavailable("all sandboxes are busy: try again later") from exc
            yield

    async def start(self, running: RunningKernel, memory_limit: str) -> None:
        """Start the kernel of a container that the caller holds; raise SandboxUnavailable."""
        if problem := await self.sandboxes.check():
            raise SandboxUnavailable(problem)
        await running.close()
        await self._make_room()
        self._starting += 1
        try:
            running.kernel = await self.sandboxes.start(memory_limit)
        finally:
            self._starting -= 1

    def running(self) -> list[RunningKernel]:
        """Return the kernels that are held or run."""
        return list(self._running.values())

    async def close(self, key: KernelKey) -> None:
        """End a container's sandbox, even while it runs code."""
        if (running := self._running.get(key)) is not None:
            await running.close()
            if not running.users and self._running.get(key) is running:
                del self._running[key]

    async def close_all(self, owner: str) -> None:
        """End the sandboxes of an owner, at its stop."""
        await asyncio.gather(*(self.close(key) for key in self.keys(owner)))

    def keys(self, owner: str) -> list[KernelKey]:
        """Return the containers of an owner that have a sandbox here, or wait for one."""
        return [key for key in self._running if key[0] == owner]

    def is_busy(self, key: KernelKey) -> bool:
        """Whether a task holds a container's kernel."""
        return key in self._running and self._running[key].users > 0

    async def give_back(self) -> None:
        """Close idle sandboxes beyond this worker's share while the machine has too many."""
        excess = min(self._count() - self._share, sandboxes_of_machine() - self._most)
        for key in self._idle()[: max(0, excess)]:
            await self._close_idle(key)

    async def _make_room(self) -> None:
        """Close sandboxes that nobody holds until one more may be started; there are always enough."""
        while not self._has_room():
            await self._close_idle(self._idle()[0])

    async def _close_idle(self, key: KernelKey) -> None:
        log.info("sandbox_made_room", container=key[2])
        await self.close(key)

    def _has_room(self) -> bool:
        count = self._count()
        return count < self._share or (count < self._most and sandboxes_of_machine() < self._most)

    def _idle(self) -> list[KernelKey]:
        """Return the kernels that run and that nobody holds, first the one that is idle for longest."""
        idle = [key for key, each in self._running.items() if each.is_alive and not each.is_held]
        return sorted(idle, key=lambda key: self._running[key].last_used)

    def _count(self) -> int:
        return self._starting + sum(each.is_alive for each in self._running.values())
