"""The one middleware: finds the operation, lets the caller in, validates, runs the view, answers.

It stands where Connexion's eleven middlewares and a2wsgi would; `exchange` is one request's way
through it. The measurements behind this shape are in ARCHITECTURE.md.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from connexion.middleware.abstract import SpecMiddleware
from connexion.spec import Specification
from werkzeug.routing import Rule

from handlers.context import Services
from handlers.registry import Registered
from serving.auth import Authenticator
from serving.exchange import Exchange
from serving.flask_app import FlaskMiddleware
from serving.lifespan import Lifespan
from serving.logs import RequestLog
from serving.metrics import Metrics
from serving.probes import Probes
from serving.replies import STOPPING
from serving.wire import Environs, Receive, Scope, Send
from spec.edition import Edition
from spec.facade import facade_path
from spec.operation import Operation
from spec.router import Router
from spec.validation import ResponseValidator

PUBLIC = frozenset({"get_health"})
ASSISTANTS_V1 = b"assistants=v1"


@dataclass(frozen=True, slots=True)
class Route:
    """An operation with its handler, None where it answers 501, and its place in Flask."""

    operation: Operation
    rule: Rule
    handler: Callable[..., Any] | None
    parameters: frozenset[str] | None
    """The names that the handler takes; None if it takes any."""
    status: int
    """The status of its success."""
    validator: ResponseValidator | None
    """What its success is held against."""
    is_public: bool
    """Whether it needs no key."""
    waits: bool
    """Whether it waits for a provider, so that a client that hangs up should end it."""


@dataclass(frozen=True, slots=True)
class Served:
    """An edition with its router and the routes of its operations."""

    edition: Edition
    router: Router
    routes: Mapping[str, Route]
    assistants_v1: bool


def request_ids() -> Iterator[str]:
    """Ids that begin with 64 random bits and count on."""
    seed = secrets.token_hex(8)
    return (f"req_{seed}{number & 0xFFFFFFFFFFFF:012x}" for number in count(secrets.randbits(40)))


async def missing(**_: Any) -> None:
    """Stands for every operation without a handler, which answers 501."""


class Dispatcher(SpecMiddleware):
    """Serves every request of every edition."""

    def __init__(
        self,
        app: FlaskMiddleware,
        *,
        editions: Mapping[str, Edition],
        registered: Mapping[str, Registered],
        services: Services,
        authenticator: Authenticator,
        metrics: Metrics,
        probes: Probes,
        log: RequestLog,
        grace: float,
        strict: bool,
        life: Lifespan,
    ) -> None:
        self.flask = app.app
        self.services = services
        self.authenticator = authenticator
        self.metrics = metrics
        self.probes = probes
        self.log = log
        self.grace = grace
        self.strict = strict
        self.environs = Environs()
        self.interruptible: set[asyncio.Task[Any]] = set()
        self.stopping = False
        self._apis = app.apis
        self._editions = editions
        self._registered = registered
        self._default_name = next(iter(editions))
        self._life = life
        self._served: dict[str, Served] = {}
        self._request_ids = request_ids()

    @property
    def may_start_later(self) -> bool:
        """Whether a start failed for want of the database only, so that another try makes sense."""
        return self._life.may_start_later

    def add_api(self, specification: Specification, *, name: str, **_: Any) -> None:  # noqa: ARG002
        """Join an edition's operations to the views and rules that Connexion made of them."""
        edition = self._editions[name]
        api = self._apis[name]
        endpoints = {(view.path, view.method): endpoint for view, endpoint in api.views}
        rules = {rule.endpoint: rule for rule in self.flask.url_map.iter_rules()}
        routes = {}
        for operation in edition.operations:
            endpoint = endpoints[facade_path(operation), operation.method]
            routes[operation.id] = self._route(operation, rules[f"{name}.{endpoint}"])
        is_v1 = name.endswith("assistants-v1")
        self._served[name] = Served(edition, edition.router(), routes, is_v1)

    def _route(self, operation: Operation, rule: Rule) -> Route:
        found = self._registered.get(operation.name)
        successes = [
            int(status) for status in operation.responses if status.startswith("2") and status.isdigit()
        ]
        status = min(successes, default=200)
        return Route(
            operation,
            rule,
            found.handle if found else None,
            found.parameters if found else None,
            status,
            operation.response(status),
            operation.name in PUBLIC,
            found is not None and found.waits_for_provider,
        )

    def served(self, scope: Scope) -> Served:
        """The edition that a request is for: the v1 one where its header says so."""
        if len(self._served) > 1:
            for name, value in scope["headers"]:
                if name == b"openai-beta" and ASSISTANTS_V1 in value:
                    return next((s for s in self._served.values() if s.assistants_v1), self._default)
        return self._default

    @property
    def _default(self) -> Served:
        return self._served[self._default_name]

    def new_request_id(self) -> str:
        """An id for the answer's x-request-id, unlike any other's."""
        return next(self._request_ids)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http":
            await Exchange(self, scope, receive, send).run()
        elif scope["type"] == "lifespan":
            # Only now, after the fork: every worker has numbers of its own.
            self._request_ids = request_ids()
            await self._life(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    def start_local_models(self) -> None:
        """Start their process, where a route leads there; called in gunicorn's master."""
        if self.services.gateway.local is not None:
            self.services.gateway.local.start()

    def stop_local_models(self) -> None:
        """End their process."""
        if self.services.gateway.local is not None:
            self.services.gateway.local.stop()

    def begin_stop(self) -> None:
        """Take no new jobs, and cut off the streams and waiting calls that outlast the grace time."""
        self.stopping = True
        self._life.begin_stop()
        asyncio.get_running_loop().call_later(self.grace, self._interrupt)

    def _interrupt(self) -> None:
        for task in list(self.interruptible):
            task.cancel(STOPPING)
