"""Makes a worker's services from the settings, and registers how each is opened, asked and closed."""

import asyncio
import os
import socket
from collections.abc import Sequence
from secrets import token_hex
from typing import TypedDict

import structlog

from handlers.context import Limits, Services
from inference.assistants.runs import Runs
from inference.batches.batches import Batches
from inference.batches.slots import LineSlots
from inference.code.containers import Containers
from inference.gateway import CallerPolicy, Gateway, Routes
from inference.gateway.http.hosts import HostGuard
from inference.gateway.http.url_files import UrlFiles
from inference.gateway.routing.any_provider import callers_routes
from inference.gateway.routing.discovery import find_embedding_model
from inference.gateway.routing.reload import RoutesReloader
from inference.jobs import Jobs
from inference.local.models import LocalModels
from inference.parsing.sandbox import Sandbox
from inference.responses.conversations import Conversations
from inference.responses.prompts import Prompts
from inference.responses.responses import Responses
from inference.responses.sealing import ItemSealer
from inference.retrieval import Retrieval
from inference.sealing import Sealer
from inference.webhooks.delivery import Webhooks
from inference.webhooks.registry import Registry
from persistence.engines import open_for_token, open_store, token_template
from persistence.errors import StoreError
from persistence.store import Store
from persistence.types import JSON
from serving.lifespan import Service
from serving.line_caller import LineCaller, LineStages
from serving.memory import MemoryTrimmer
from serving.settings import Settings
from serving.tenants import Tenants, tenant_name
from serving.tools import make_kernels, make_mcp_servers, make_tools, make_web_search

SWEEP_SECONDS = 600.0
"""How often each worker has the store delete what has expired."""

POLL_SECONDS = 1.0
TENANT_POLL_SECONDS = 2.0
"""Seconds between two looks for due jobs; tenants' stores may be many. Half a lease would count as a
suspended machine."""

OF_A_STORE = frozenset({"store", "webhooks", "containers", "jobs", "sweep"})
"""The lives of what each store has for itself."""

log = structlog.get_logger("astrolabe.services")


class EngineOptions(TypedDict):
    """The options that the engines of runs and responses have in common."""

    log_lifetime: float
    max_answer: int
    sealer: Sealer


def make_services(settings: Settings) -> Services:
    """Return the services that handlers use, none of them open; raises FileRefused or StoreRefused."""
    if settings.opens_store_per_token:
        return services_over(token_template(settings.store), settings)
    return services_over(open_store(settings.store), settings)


def make_tenants(settings: Settings, services: Services) -> Tenants:
    """Return the stores of callers' tokens; they share the gateway and the file parser of `services`."""

    async def make(token: str, database: str) -> tuple[Services, Sequence[Service]]:
        store = await open_for_token(settings.store, token, database)
        made = services_over(store, settings, services, tenant_name(token, database))
        return made, [life for life in lives(made, grace=settings.grace) if life.name in OF_A_STORE]

    return Tenants(make)


def services_over(
    store: Store, settings: Settings, shared: Services | None = None, tenant: str = ""
) -> Services:
    """Return the services over a store that exists already; of `shared` they use what has no store."""
    gateway = shared.gateway if shared else make_gateway(settings, store)
    prompts = shared.responses.prompts if shared else make_prompts(settings)
    registry = shared.webhooks.registry if shared else make_registry(settings)
    poll = TENANT_POLL_SECONDS if shared else POLL_SECONDS
    jobs = Jobs(store, owner="", poll=poll, max_takeovers=settings.max_takeovers)
    retrieval = make_retrieval(store, gateway, jobs, settings, shared, tenant)
    kernels = shared.containers.kernels if shared else make_kernels(settings)
    containers = Containers(store, retrieval.deadlines, retrieval.files, kernels)
    mcp = shared.mcp if shared else make_mcp_servers(settings)
    urls = UrlFiles(HostGuard(frozenset(settings.file_hosts)))
    web_search = shared.web_search if shared else make_web_search(settings, gateway, retrieval.sandbox)
    thread_tools, response_tools = make_tools(
        settings, store, gateway, retrieval, containers, mcp, web_search, urls
    )
    engine_options = EngineOptions(
        log_lifetime=settings.log_days * 86_400, max_answer=settings.max_answer, sealer=retrieval.sealer
    )
    runs = Runs(store, gateway, jobs, thread_tools, **engine_options)
    webhooks = Webhooks(store, jobs, registry)
    items = ItemSealer(store, settings.secrets)
    responses = Responses(
        store,
        gateway,
        jobs,
        response_tools,
        webhooks,
        prompts,
        item_sealer=items,
        urls=urls,
        **engine_options,
    )
    line_caller = make_line_caller(settings, shared, tenant)
    slots = shared.batches.slots if shared else make_line_slots(settings)
    batches = make_batches(store, gateway, jobs, webhooks, retrieval, line_caller, slots)
    services = Services(
        store=store,
        gateway=gateway,
        jobs=jobs,
        runs=runs,
        retrieval=retrieval,
        conversations=Conversations(store, jobs),
        responses=responses,
        webhooks=webhooks,
        batches=batches,
        containers=containers,
        web_search=web_search,
        mcp=mcp,
    )
    line_caller.services = services
    return services


def make_retrieval(
    store: Store, gateway: Gateway, jobs: Jobs, settings: Settings, shared: Services | None, tenant: str
) -> Retrieval:
    """Return the files and vector stores of a store, with the file parser of `shared`."""
    sandbox = shared.retrieval.sandbox if shared else Sandbox(settings.parser_memory // settings.workers)
    return Retrieval(
        store,
        gateway,
        jobs,
        download_assistants_files=settings.download_assistants_files,
        sandbox=sandbox,
        sealer=Sealer(*settings.secrets),
        tenant=tenant,
    )


def make_batches(
    store: Store,
    gateway: Gateway,
    jobs: Jobs,
    webhooks: Webhooks,
    retrieval: Retrieval,
    line_caller: LineCaller,
    slots: LineSlots,
) -> Batches:
    """Return the batches of a store."""
    return Batches(
        store,
        gateway,
        jobs,
        webhooks,
        files=retrieval.files,
        deadlines=retrieval.deadlines,
        sealer=retrieval.sealer,
        caller=line_caller,
        slots=slots,
    )


def make_line_caller(settings: Settings, shared: Services | None, tenant: str) -> LineCaller:
    """Return what calls operations for the lines of batches; its services are set once they are made."""
    return LineCaller(
        Limits(settings.max_body, settings.max_file),
        is_astra=settings.auth == "astra",
        tenant=tenant,
        stages=line_stages(shared) if shared else LineStages(),
    )


def line_stages(services: Services) -> LineStages:
    """Return the stages that the lines of these services' batches go through."""
    caller = services.batches.caller
    return caller.stages if isinstance(caller, LineCaller) else LineStages()


def make_line_slots(settings: Settings) -> LineSlots:
    """Return the bounds of the lines that a worker sends at the same time."""
    return LineSlots(settings.batch_lines_per_project, settings.batch_lines_per_model)


def make_gateway(settings: Settings, store: Store) -> Gateway:
    """Return the gateway to the settings' providers; workers share cooldowns through the store."""
    routes = make_routes(settings)
    local = LocalModels(settings.cache) if "local" in routes.wires() else None
    accepts = settings.caller_keys or settings.auth == "astra"
    policy = CallerPolicy(accepts, HostGuard(frozenset(settings.provider_hosts)))
    return Gateway(routes, policy, local, None if settings.opens_store_per_token else store)


def make_reloader(settings: Settings, gateway: Gateway) -> RoutesReloader:
    """Return what reads models.yaml again when it changes."""
    return RoutesReloader(gateway, settings.models, lambda path: Routes.from_file(path, os.environ))


def make_registry(settings: Settings) -> Registry:
    """Return the webhooks that the operator registered; WebhooksRefused."""
    if settings.webhooks is None:
        return Registry()
    return Registry.from_file(settings.webhooks, os.environ)


def make_prompts(settings: Settings) -> Prompts:
    """Return the operator's prompt templates; PromptsRefused."""
    return Prompts() if settings.prompts is None else Prompts.from_folder(settings.prompts)


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
    jobs, sweep, trimmer = JobsLife(services.jobs, grace), Sweep(store), MemoryTrimmer()

    async def open_store() -> None:
        await store.migrate()
        await store.open()
        await services.responses.sealer.open()

    async def open_retrieval() -> None:
        retrieval.open()

    async def open_nothing() -> None:
        """Do nothing: connections are opened by the first request."""

    async def search() -> JSON:
        return retrieval.describe()

    return (
        Service("store", open_store, store.close, ping=store.ping),
        Service("gateway", gateway.open, gateway.close),
        Service("retrieval", open_retrieval, retrieval.close, ping=search),
        Service("webhooks", open_nothing, services.webhooks.close),
        Service("web_search", open_nothing, services.web_search.close),
        Service("containers", services.containers.open, services.containers.close),
        Service("mcp", open_nothing, services.mcp.close),
        Service(
            "jobs",
            jobs.open,
            jobs.close,
            begin_stop=jobs.begin_stop,
            stop_at_once=services.jobs.stop_at_once,
        ),
        Service("sweep", sweep.open, sweep.close),
        Service("memory", trimmer.open, trimmer.close),
    )


def shared_lives(services: Services, tenants: Tenants) -> tuple[Service, ...]:
    """Return the lives of a worker whose stores are its tenants' own."""
    shared = [life for life in lives(services, grace=0) if life.name not in OF_A_STORE]
    return (
        *shared,
        Service(
            "tenants",
            tenants.open,
            tenants.close,
            begin_stop=tenants.begin_stop,
            stop_at_once=tenants.stop_at_once,
        ),
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
