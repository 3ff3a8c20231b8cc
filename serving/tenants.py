"""The stores of a worker's tenants: one open store for each token and database, shared by its requests."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import structlog

from handlers.context import Services
from handlers.errors import ApiError, BadRequest, Unauthorized, Unavailable
from persistence.errors import CredentialsRefused, DatabaseAmbiguous, StoreError
from serving.lifespan import Service

MOST_OPEN = 64
"""Stores that a worker has open at once; the one that was not used for longest makes room."""

IDLE_SECONDS = 120.0
"""Seconds without a request or a running job after which a store is closed."""

OPENED_AT_ONCE = 8
"""Stores that are being opened at the same time: each takes threads and connections for that."""

FAILURE_SECONDS = 5.0
"""Seconds for which a failure to open is answered again without another try."""

MAX_FAILURES = 1000

log = structlog.get_logger("astrolabe.tenants")

Make = Callable[[str, str], Awaitable[tuple[Services, Sequence[Service]]]]
"""Makes a tenant's services from token and database, none of them open, and their lives."""


@dataclass(slots=True, eq=False)
class OpenStore:
    """A tenant's services, and how many requests use them."""

    services: Services
    lives: Sequence[Service]
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)


@dataclass(slots=True, eq=False)
class Tenant:
    """One token and database; `uses` counts the requests that hold it, `used_at` is the last one's end."""

    name: str
    opening: asyncio.Task[OpenStore]
    uses: int = 0
    used_at: float = field(default_factory=time.monotonic)

    @property
    def is_open(self) -> bool:
        """Whether the store was opened."""
        done = self.opening.done() and not self.opening.cancelled()
        return done and self.opening.exception() is None

    @property
    def is_free(self) -> bool:
        """Whether no request holds the store and none of its jobs runs here."""
        return self.is_open and not self.uses and not self.running_jobs

    @property
    def running_jobs(self) -> int:
        """How many of the store's jobs run here."""
        return self.opening.result().services.jobs.running if self.is_open else 0

    def release(self) -> None:
        """End one use."""
        self.uses -= 1
        self.used_at = time.monotonic()


class Tenants:
    """Opens stores when a request needs them, once for all requests, and closes those that are idle.

    A store's jobs run while it is open; those that a worker leaves behind are taken over by whichever
    worker opens the store next. Tokens are in the open stores' memory only.
    """

    def __init__(self, make: Make, *, most: int = MOST_OPEN, idle: float = IDLE_SECONDS) -> None:
        self._make = make
        self._most = most
        self._idle = idle
        self._tenants: OrderedDict[str, Tenant] = OrderedDict()
        self._failures: dict[str, tuple[StoreError, float]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._opening = asyncio.Semaphore(OPENED_AT_ONCE)
        self._watch: asyncio.Task[None] | None = None

    @property
    def number(self) -> int:
        """How many stores are open or being opened."""
        return len(self._tenants)

    @property
    def running_jobs(self) -> int:
        """How many jobs of all stores run here."""
        return sum(tenant.running_jobs for tenant in self._tenants.values())

    # --- a worker's life ---

    async def open(self) -> None:
        """Close idle stores from now on."""
        self._watch = asyncio.create_task(self._close_idle())

    def begin_stop(self) -> None:
        """Have every store's jobs stop."""
        self._signal("begin_stop")

    def stop_at_once(self) -> None:
        """End the time that running jobs have for that."""
        self._signal("stop_at_once")

    def _signal(self, name: str) -> None:
        for tenant in self._tenants.values():
            if tenant.is_open:
                for life in tenant.opening.result().lives:
                    call: Callable[[], None] | None = getattr(life, name)
                    if call is not None:
                        call()

    async def close(self) -> None:
        """Close every store."""
        if self._watch is not None:
            self._watch.cancel()
        tenants = list(self._tenants.values())
        self._tenants.clear()
        for tenant in tenants:
            if not tenant.opening.done():
                tenant.opening.cancel()
        await asyncio.gather(*map(self._close, tenants), *self._closing)

    # --- requests ---

    async def hold(self, token: str, database: str) -> tuple[Tenant, Services]:
        """Return the open store of a token and its services; call `release` at the end.

        Raises Unauthorized for a token that the database refuses, Unavailable where it cannot be used now.
        """
        name = tenant_name(token, database)
        tenant = self._tenants.get(name)
        if tenant is None:
            self._raise_known_failure(name)
            tenant = self._start(name, token, database)
        self._tenants.move_to_end(name)
        tenant.uses += 1
        if not tenant.is_open:
            await self._wait(tenant)
        return tenant, tenant.opening.result().services

    async def _wait(self, tenant: Tenant) -> None:
        """Wait until a store is open; a client that disconnects does not end what others wait for."""
        try:
            await asyncio.shield(tenant.opening)
        except StoreError as exc:
            tenant.release()
            raise _failure(exc) from exc
        except BaseException:
            tenant.release()
            raise

    def _raise_known_failure(self, name: str) -> None:
        failed = self._failures.get(name)
        if failed is not None and time.monotonic() < failed[1]:
            raise _failure(failed[0])

    def _start(self, name: str, token: str, database: str) -> Tenant:
        """Begin to open a store; Unavailable where so many are in use that none can make room."""
        oldest: Tenant | None = None
        if len(self._tenants) >= self._most:
            free = next((each for each, tenant in self._tenants.items() if tenant.is_free), None)
            if free is None:
                raise Unavailable(
                    f"The server has {self._most} databases in use; try again later.",
                    code="too_many_databases",
                    headers={"Retry-After": "5"},
                )
            oldest = self._tenants.pop(free)
        opening = asyncio.create_task(self._open(oldest, token, database))
        tenant = self._tenants[name] = Tenant(name, opening)
        opening.add_done_callback(lambda task: self._opened(tenant, task))
        return tenant

    def _opened(self, tenant: Tenant, task: asyncio.Task[OpenStore]) -> None:
        """Drop a store that could not be opened, and keep the reason for some seconds."""
        error = None if task.cancelled() else task.exception()
        if error is None and not task.cancelled():
            return
        if self._tenants.get(tenant.name) is tenant:
            del self._tenants[tenant.name]
        if isinstance(error, StoreError):
            if len(self._failures) >= MAX_FAILURES:
                self._failures.clear()
            self._failures[tenant.name] = (error, time.monotonic() + FAILURE_SECONDS)
            log.warning("tenant_not_opened", reason=str(error))

    async def _open(self, oldest: Tenant | None, token: str, database: str) -> OpenStore:
        if oldest is not None:
            await self._close(oldest)
        async with self._opening, AsyncExitStack() as stack:
            services, lives = await self._make(token, database)
            for life in lives:
                await life.open()
                stack.push_async_callback(life.close)
            return OpenStore(services, lives, stack.pop_all())

    async def _close(self, tenant: Tenant) -> None:
        try:
            opened = await tenant.opening
            await opened.stack.aclose()
        except (StoreError, asyncio.CancelledError) as exc:
            log.debug("tenant_not_closed", reason=str(exc))

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(self._idle / 4)
            until = time.monotonic() - self._idle
            idle = [key for key, each in self._tenants.items() if each.is_free and each.used_at < until]
            for key in idle:
                closing = asyncio.create_task(self._close(self._tenants.pop(key)))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)


def tenant_name(token: str, database: str) -> str:
    """Return the name of a token's database, from which neither can be read."""
    return hashlib.sha256(f"{token}\n{database}".encode()).hexdigest()


def _failure(error: StoreError) -> ApiError:
    """Return what a client is told of a store that cannot be opened."""
    if isinstance(error, DatabaseAmbiguous):
        return BadRequest(f"The header 'astra-db-id' is missing: {error}.", code="missing_header")
    if isinstance(error, CredentialsRefused):
        return Unauthorized(f"The token in 'astra-api-token' does not open the database. {error}.")
    return Unavailable(
        f"The database cannot be used now. {error}.",
        code="database_unavailable",
        headers={"Retry-After": "10"},
    )
