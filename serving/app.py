"""Builds the application: settings in, one ASGI app out."""

import time
from functools import partial

import flask
import structlog
from werkzeug.exceptions import HTTPException

from handlers.context import Limits, Services
from handlers.errors import ApiError, BadRequest, ServerError, map_error
from handlers.registry import registered_handlers
from persistence.errors import StoreError
from serving.auth import Authenticator, KeyAuthenticator, OpenAuthenticator
from serving.dispatcher import Dispatcher, missing
from serving.flask_app import Application, HandlerResolver
from serving.lifespan import Lifespan
from serving.logs import RequestLog
from serving.metrics import Metrics
from serving.probes import Probes
from serving.replies import error_response
from serving.services import make_services
from serving.settings import Settings
from spec import edition as editions
from spec.edition import Edition
from spec.errors import InvalidRequest

ASSISTANTS_V1 = "2024-04-12-assistants-v1"
"""The edition that requests with `OpenAI-Beta: assistants=v1` are served from."""

log = structlog.get_logger("astrolabe.app")


def create_app(settings: Settings, services: Services | None = None) -> Dispatcher:
    """The application that gunicorn serves; raises InvalidSpec, RoutesRefused or StoreRefused.

    Made once, before the fork, and connected to nothing: each worker's lifespan opens `services`.
    """
    started = time.perf_counter()
    found = registered_handlers()
    loaded = load_editions(settings)
    services = services or make_services(settings)
    application = Application("astrolabe", resolver=HandlerResolver(found, missing))
    app = application.flask
    add_error_handlers(app)
    metrics = Metrics(app)
    for name, edition in loaded.items():
        application.add_edition(name, edition.facade())
    dispatcher: Dispatcher = application.build(
        partial(
            Dispatcher,
            editions=loaded,
            registered=found,
            services=services,
            authenticator=make_authenticator(settings, services),
            metrics=metrics,
            probes=Probes(services),
            log=RequestLog(settings.log_level),
            grace=settings.grace,
            strict=settings.strict_responses,
            life=Lifespan(services, grace=settings.grace),
        )
    )
    for edition in loaded.values():
        log.info(str(editions.served(edition, set(found))), seconds=round(time.perf_counter() - started, 3))
    return dispatcher


def load_editions(settings: Settings) -> dict[str, Edition]:
    """The default edition first, then the one that v1 clients need, unless it is the default."""
    default = editions.load(settings.spec, settings.cache)
    loaded = {default.name: default}
    if ASSISTANTS_V1 not in loaded:
        loaded[ASSISTANTS_V1] = editions.load(ASSISTANTS_V1, settings.cache)
    return loaded


def make_authenticator(settings: Settings, services: Services) -> Authenticator:
    """Return the authenticator that ASTROLABE_AUTH names."""
    limits = Limits(settings.max_body, settings.max_file)
    return KeyAuthenticator(services.store, limits) if settings.auth == "keys" else OpenAuthenticator(limits)


def add_error_handlers(app: flask.Flask) -> None:
    """Have Flask answer everything that can be raised in OpenAI's shape."""

    def on_api_error(exc: ApiError) -> flask.Response:
        return error_response(app, exc)

    def on_invalid(exc: InvalidRequest) -> flask.Response:
        return error_response(app, BadRequest(exc.message, param=exc.param, code=exc.code))

    def on_http_exception(exc: HTTPException) -> flask.Response:
        status = exc.code or 500
        kind = "invalid_request_error" if status < 500 else "server_error"
        return error_response(app, ApiError(exc.description or exc.name, status=status, type=kind))

    def on_exception(exc: Exception) -> flask.Response:
        error = map_error(exc)
        if error is None:
            log.error("request failed", exc_info=exc)
            error = ServerError("The server had an error while processing your request. Sorry about that!")
        elif isinstance(exc, StoreError) and error.status >= 500:
            log.warning("store_failed", error=str(exc))  # what the client is not told: node, host, cause
        return error_response(app, error)

    app.register_error_handler(ApiError, on_api_error)
    app.register_error_handler(InvalidRequest, on_invalid)
    app.register_error_handler(HTTPException, on_http_exception)
    app.register_error_handler(Exception, on_exception)
