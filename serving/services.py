"""Makes one worker's parts from the settings; nothing is connected yet."""

import os

from handlers.context import Services
from inference.assistants.runs import Runs
from inference.gateway import CallerPolicy, Gateway, Routes
from inference.gateway.discovery import find_embedding_model
from inference.jobs import Jobs
from inference.local.models import LocalModels
from inference.retrieval import Retrieval
from inference.retrieval.file_search import file_search
from persistence.engines import open_store
from persistence.store import Store
from serving.settings import Settings


def make_services(settings: Settings) -> Services:
    """The parts that handlers work with; raises RoutesRefused or StoreRefused."""
    store = open_store(settings.store)
    return services_over(store, settings)


def services_over(store: Store, settings: Settings) -> Services:
    """The same over a store that is made already."""
    routes = make_routes(settings)
    local = LocalModels(settings.cache) if "local" in routes.wires() else None
    policy = CallerPolicy(settings.caller_keys, frozenset(settings.provider_hosts))
    gateway = Gateway(routes, policy, local)
    jobs = Jobs(store, owner="")
    downloads = settings.download_assistants_files
    retrieval = Retrieval(store, gateway, jobs, download_assistants_files=downloads)
    tools = {"file_search": file_search(retrieval, gateway.context_window)}
    runs = Runs(store, gateway, jobs, tools, log_lifetime=settings.log_days * 86_400)
    return Services(store=store, gateway=gateway, jobs=jobs, runs=runs, retrieval=retrieval)


def make_routes(settings: Settings) -> Routes:
    """Return the routes of models.yaml, else of the environment's one provider, else of the local models.

    A provider other than OpenAI is asked for its embedding model; where it names none, the local one
    is used if it is installed.
    """
    if settings.models is not None:
        return Routes.from_file(settings.models, os.environ)
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
    if key is None and settings.openai_base_url is None:
        return Routes.local(LocalModels.missing())
    routes = Routes.from_environment(key, settings.openai_base_url)
    if routes.embedding_model is not None:
        return routes
    found = find_embedding_model(settings.openai_base_url or "", key)
    return routes.with_embedding_model(found, LocalModels.missing())
