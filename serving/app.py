"""Builds the application: settings in, one ASGI app out."""

from handlers import astra_assistants
from handlers.context import Limits, Services
from handlers.registry import registered_handlers
from serving.access import AccessLog
from serving.announcement import Announcement
from serving.asgi import ASGIApplication, RequestIds
from serving.astra_routing import AstraRouting, v1_prefixed
from serving.auth import Authenticator, KeyAuthenticator, OpenAuthenticator
from serving.auth_astra import AstraAuthenticator, AstraDatabaseAuthenticator
from serving.body_checker import BodyChecker
from serving.browser_guard import BrowserGuard
from serving.calling import HandlerCaller
from serving.cors import Cors
from serving.decoding import Decoder
from serving.failures import add_error_handlers
from serving.flask_app import Application, HandlerResolver
from serving.http import HTTPServer
from serving.interruptions import Interruptions
from serving.lifespan import Lifespan, Service
from serving.limits import HeldBodies, SpooledBodies
from serving.logs import RequestLog
from serving.metrics import Metrics
from serving.pages import add_pages
from serving.pipeline import Pipeline
from serving.probes import Probes
from serving.protocol import ConnectionLimits
from serving.provider_metrics import ProviderMetrics
from serving.request_factory import RequestFactory
from serving.responses import Responder
from serving.routes import ServedEdition
from serving.routing import Routing
from serving.sending import Sending
from serving.server_context import ServerContext
from serving.services import (
    line_stages,
    lives,
    make_reloader,
    make_services,
    make_tenants,
    shared_lives,
)
from serving.settings import Settings
from serving.tenants import Tenants
from serving.websocket import WebSocketServer
from spec import edition as editions
from spec.edition import Edition
from spec.operation import JSON_MEDIA

SPOOLED_FILES = 4
"""Files of the largest size that a worker keeps on disk while it sends them to providers."""

ASSISTANTS_V1 = "2024-04-12-assistants-v1"
"""The edition that requests with `OpenAI-Beta: assistants=v1` are served from."""


def create_app(settings: Settings, services: Services | None = None) -> ASGIApplication:
    """Make the application that gunicorn serves; raises InvalidSpec, FileRefused or StoreRefused.

    Made once, before the fork, and connected to nothing: each worker's lifespan opens `services`.
    """
    routing = AstraRouting() if settings.auth == "astra" else Routing()
    flask = make_flask_app(settings, routing).flask
    services = services or make_services(settings)
    check_prompts(services, routing.default)
    tenants = make_tenants(settings, services) if settings.opens_store_per_token else None
    checker = make_body_checker(settings, routing)
    own_lives = shared_lives(services, tenants) if tenants else lives(services, grace=settings.grace)
    reloader = make_reloader(settings, services.gateway)
    service_lives = [*own_lives, checker.life, Service("routes", reloader.open, reloader.close)]
    metrics, request_log = Metrics(flask), RequestLog(settings.log_level, settings.log_format)
    services.gateway.deployments.observer = ProviderMetrics(metrics.registry)
    ids = RequestIds()
    authenticator = make_authenticator(settings, services, tenants)
    access = AccessLog(metrics, request_log)
    context = make_context(settings, services, routing, authenticator, checker, metrics, access, ids)
    stages = line_stages(services)
    stages.pipeline, stages.checker = context.pipeline, checker
    return ASGIApplication(
        flask=flask,
        services=services,
        pipeline=context.pipeline,
        http=HTTPServer(context, flask=flask, probes=Probes(service_lives, metrics.set_full)),
        websockets=WebSocketServer(context),
        interruptions=context.sending.interruptions,
        lifespan=Lifespan(service_lives, on_stopped=request_log.close),
        ids=ids,
        announce=Announcement(settings, services, routing.default),
        connection_limits=make_connection_limits(settings),
        grace=settings.grace,
        reload_routes=reloader.reload_soon,
        running_jobs=lambda: tenants.running_jobs if tenants else services.jobs.running,
    )


def make_context(
    settings: Settings,
    services: Services,
    routing: Routing,
    authenticator: Authenticator,
    checker: BodyChecker,
    metrics: Metrics,
    access: AccessLog,
    ids: RequestIds,
) -> ServerContext:
    """Return what serves the requests of a worker."""
    interruptions, held, spooled = Interruptions(), make_held_bodies(settings), make_spooled_bodies(settings)
    pipeline = Pipeline(
        routing=routing,
        authenticator=authenticator,
        decoder=Decoder(services.store, held, spooled, checker),
        caller=HandlerCaller(services, interruptions),
        responder=Responder(
            metrics, interruptions, strict=settings.strict_responses, keep_alive=settings.keep_alive
        ),
        store=services.store,
        new_id=ids,
    )
    cors = Cors(settings.cors_origins)
    return ServerContext(
        requests=RequestFactory(ids, v1_prefixed if settings.auth == "astra" else None),
        pipeline=pipeline,
        access=access,
        guard=BrowserGuard(settings.allowed_hosts, cors) if settings.auth == "open" else None,
        held=held,
        spooled=spooled,
        sending=Sending(cors, interruptions, metrics, pipeline.has_valid_key, settings.keep_alive),
    )


def check_prompts(services: Services, served: ServedEdition) -> None:
    """Check the prompt templates as requests of the edition that they stand for; PromptsRefused."""
    route = served.routes.get("createResponse")
    if route is not None:
        services.responses.prompts.check(route.operation.body(JSON_MEDIA).check)


def make_flask_app(settings: Settings, routing: Routing) -> Application:
    """Make Connexion's application of the editions, and add them to the routing."""
    registered = registered_handlers()
    if settings.auth == "astra":
        registered = astra_assistants.with_rules(registered)
    loaded = load_editions(settings)
    application = Application("astrolabe", resolver=HandlerResolver(registered))
    add_error_handlers(application.flask, routing)
    for edition in loaded:
        application.add_edition(edition.name, edition.facade())
    application.build()
    for edition in loaded:
        routing.add(ServedEdition.of(edition, application.rules(edition.name), registered))
    add_pages(application.flask, routing)
    return application


def load_editions(settings: Settings) -> list[Edition]:
    """Return the default edition first, then the one that v1 clients need, unless it is the default."""
    rules = astra_assistants.SCHEMA_RULES if settings.auth == "astra" else ()
    default = editions.load(settings.spec, settings.cache, rules)
    if default.name == ASSISTANTS_V1:
        return [default]
    return [default, editions.load(ASSISTANTS_V1, settings.cache, rules)]


def make_connection_limits(settings: Settings) -> ConnectionLimits:
    """Return the bounds of a worker's connections."""
    return ConnectionLimits(
        connections=settings.max_connections,
        head_seconds=settings.head_timeout,
        body_seconds=settings.body_timeout,
        whole_body_seconds=settings.whole_body_timeout,
        send_seconds=settings.send_timeout,
        message_bytes=settings.max_body,
        ping_seconds=settings.keep_alive,
    )


def make_body_checker(settings: Settings, routing: Routing) -> BodyChecker:
    """Return the checker of bodies by the editions as they are served."""
    specs = {routing.default.edition.name: settings.spec}
    return BodyChecker(specs, settings.cache, is_astra=settings.auth == "astra")


def make_held_bodies(settings: Settings) -> HeldBodies:
    """Return the bound on bodies in memory."""
    limit = settings.max_held_bodies
    return HeldBodies(limit, share=share_of(limit, settings), largest=settings.max_body)


def make_spooled_bodies(settings: Settings) -> SpooledBodies:
    """Return the bound on files on their way to providers."""
    limit = SPOOLED_FILES * settings.max_file
    largest = settings.max_file + settings.max_body
    return SpooledBodies(limit, share=share_of(limit, settings), largest=largest)


def share_of(limit: int, settings: Settings) -> int:
    """Return what one project may have of a limit: half of it where there may be several."""
    return limit if settings.auth == "open" else limit // 2


def make_authenticator(settings: Settings, services: Services, tenants: Tenants | None) -> Authenticator:
    """Return the authenticator that ASTROLABE_AUTH names."""
    limits = Limits(settings.max_body, settings.max_file)
    if settings.auth == "keys":
        return KeyAuthenticator(services.store, limits)
    if tenants is not None:
        return AstraDatabaseAuthenticator(limits, tenants)
    return AstraAuthenticator(limits) if settings.auth == "astra" else OpenAuthenticator(limits)
