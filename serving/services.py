"""Makes a worker's services from the settings, and registers how each is opened, asked and closed."""

import asyncio
import os
import socket
from secrets import token_hex

import structlog

from handlers.context import Services
from inference.assistants.runs import Runs
from inference.gateway import CallerPolicy, Gateway, Routes
from inference.gateway.any_provider import callers_routes
from inference.gateway.discovery import find_embedding_model
from inference.gateway.hosts import HostGuard
from inference.jobs import Jobs
from inference.local.models import LocalModels
from inference.retrieval import Retrieval
from inference.retrieval.file_search import file_search
from inference.sealing import Sealer
from persistence.engines import open_store
from persistence.errors import StoreError
from persistence.store import Store
from persistence.types import JSON
from serving.lifespan import Service
from serving.settings import Settings

SWEEP_SECONDS = 600.0
"""How often each worker has the store delete what has expired."""

log = structlog.get_logger("astrolabe.services")


def make_services(settings: Settings) -> Services:
    """Return the services that handlers use, none of them open; raises RoutesRefused or StoreRefused."""
    return services_over(open_store(settings.store), settings)


def services_over(store: Store, settings: Settings) -> Services:
    """Return the services over a store that exists already."""
    routes = make_routes(settings)
    local = LocalModels(settings.cache) if "local" in routes.wires() else None
    accepts = settings.caller_keys or settings.auth == "astra"
    policy = CallerPolicy(accepts, HostGuard(frozenset(settings.provider_hosts)))
    gateway = Gateway(routes, policy, local)
    secret = settings.secret.get_secret_value() if settings.secret else None
    sealer = Sealer(secret)
    jobs = Jobs(store, owner="", max_takeovers=settings.max_takeovers)
    downloads = settings.download_assistants_files
    parser_memory = settings.parser_memory // settings.workers
    retrieval = Retrieval(
        store,
        gateway,
        jobs,
        download_assistants_files=downloads,
        parser_memory=parser_memory,
        sealer=sealer,
    )
    tools = {"file_search": file_search(retrieval, gateway.context_window)}
    runs = Runs(
        store,
        gateway,
        jobs,
        tools,
        log_lifetime=settings.log_days * 86_400,
        max_answer=settings.max_answer,
        sealer=sealer,
    )
    return Services(store=store, gateway=gateway, jobs=jobs, runs=runs, retrieval=retrieval)


def make_routes(settings: Settings) -> Routes:
    """Return the routes of models.yaml, else of the environment's one provider, else of the local models.

    In `astra` mode callers bring their keys for any provider, unless the operator names one.
    A provider other than OpenAI is asked for its embedding model; where it names none, the local one
    is used if it is installed.
    """
    if settings.models is not None:
        return Routes.from_file(settings.models, os.environ)
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
    if settings.auth == "astra" and settings.openai_base_url is None:
        return callers_routes(key)
    if key is None and settings.openai_base_url is None:
        return Routes.local(LocalModels.missing())
    routes = Routes.from_environment(key, settings.openai_base_url)
    if routes.embedding_model is not None:
        return routes
    found = find_embedding_model(settings.openai_base_url or "", key)
    return routes.with_embedding_model(found, LocalModels.missing())


def lives(services: Services, *, grace: float) -> tuple[Service, ...]:
    """Return each service's life, in the order in which a worker opens them.

    `grace` is how many seconds running jobs have to end at a stop.
    """
    store, gateway, retrieval = services.store, services.gateway, services.retrieval
    jobs, sweep = JobsLife(services.jobs, grace), Sweep(store)

    async def open_store() -> None:
        await store.migrate()
        await store.open()

    async def open_retrieval() -> None:
        retrieval.open()

    async def search() -> JSON:
        return retrieval.describe()

    return (
        Service("store", open_store, store.close, ping=store.ping),
        Service("gateway", gateway.open, gateway.close),
        Service("retrieval", open_retrieval, retrieval.close, ping=search),
        Service(
            "jobs",
            jobs.open,
            jobs.close,
            begin_stop=jobs.begin_stop,
            stop_at_once=services.jobs.stop_at_once,
        ),
        Service("sweep", sweep.open, sweep.close),
    )


class JobsLife:
    """Starts a worker's jobs; their stop may begin while requests still end."""

    def __init__(self, jobs: Jobs, grace: float) -> None:
        self._jobs = jobs
        self._grace = grace
        self._stop: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Take due jobs from now on."""
        self._jobs.owner = owner_name()  # made after the fork: leases belong to one process
        await self._jobs.start()

    def begin_stop(self) -> None:
        """Take no new jobs, and let running ones end within the grace time."""
        if self._stop is None:
            self._stop = asyncio.create_task(self._jobs.stop(self._grace))

    async def close(self) -> None:
        """Wait until the jobs have stopped."""
        self.begin_stop()
        if self._stop is not None:
            await self._stop


class Sweep:
    """Has the store delete what has expired, every SWEEP_SECONDS."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start sweeping."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop sweeping."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            try:
                await self._store.sweep()
            except StoreError as exc:
                log.warning("sweep_failed", reason=str(exc))
            await asyncio.sleep(SWEEP_SECONDS)


def owner_name() -> str:
    """Return a name for this process's leases that no other process has, nor this one after a restart."""
    return f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}"
