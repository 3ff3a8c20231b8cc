"""Connexion's application over Flask, with the parts of both that the request path keeps.

Connexion loads the edition, knows its operations and resolves each to a handler; Flask holds the
blueprints, the context, the hooks and the error handlers. What is bypassed, and why, stands in
ARCHITECTURE.md; `dispatcher` is what runs in place of it.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import flask
import orjson
from connexion.apps.abstract import AbstractApp
from connexion.apps.flask import FlaskApi
from connexion.frameworks import flask as flask_utils
from connexion.middleware.abstract import SpecMiddleware
from connexion.middleware.main import API
from connexion.operations import AbstractOperation
from connexion.resolver import Resolution, Resolver
from connexion.spec import OpenAPISpecification, Specification
from flask.ctx import RequestContext
from flask.globals import _cv_request
from flask.json.provider import JSONProvider
from flask.sessions import NullSession, SessionInterface
from flask.signals import appcontext_tearing_down, request_tearing_down
from werkzeug.routing import MapAdapter, Rule

from handlers.registry import Registered

Match = tuple[Rule | None, dict[str, str]]
"""The rule of a request, None where there is none, and the values in its path."""


class NoSession(SessionInterface):
    """No cookie, no session: every request brings its key."""

    null = NullSession()

    def open_session(self, app: flask.Flask, request: flask.Request) -> NullSession:  # noqa: ARG002
        """Share one empty session."""
        return self.null

    def is_null_session(self, obj: object) -> bool:  # noqa: ARG002
        """Have Flask skip saving it."""
        return True


class OrjsonProvider(JSONProvider):
    """Flask's `jsonify` and `request.json` by orjson."""

    def dumps(self, obj: Any, **_: Any) -> str:
        """Encode as text, as the interface wants it."""
        return orjson.dumps(obj).decode()

    def loads(self, s: str | bytes, **_: Any) -> Any:
        """Decode text or bytes."""
        return orjson.loads(s)


class Request(flask.Request):
    """A request whose body Flask never sees, so that it has no files to close."""

    def close(self) -> None:
        """Nothing is open."""


class LazyRule(Rule):
    """A rule that compiles what `url_for` needs on its first use: all at once they take 0.2 s of a start."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        compile_now = super()._compile_builder
        compiled: list[Callable[..., tuple[str, str]]] = []

        def build(rule: Rule, *arguments: Any, **values: Any) -> tuple[str, str]:
            if not compiled:
                compiled.append(compile_now(append_unknown))
            return compiled[0](rule, *arguments, **values)

        return build


class Flask(flask.Flask):
    """Flask without the work that finds nothing: hooks nobody registered, a second match."""

    session_interface = NoSession()
    request_class = Request
    url_rule_class = LazyRule

    def matched_context(self, environ: Callable[[], dict[str, Any]], match: Match) -> "MatchedContext":
        """The context of a request that is matched already; `environ` makes what Flask knows of it."""
        return MatchedContext(self, environ, match)

    def preprocess_request(self) -> Any:
        """Run the before_request hooks, if there are any."""
        if self.before_request_funcs or self.url_value_preprocessors:
            return super().preprocess_request()
        return None

    @property
    def has_response_hooks(self) -> bool:
        """Whether anybody registered an after_request hook."""
        return bool(self.after_request_funcs)

    def do_teardown_request(self, exc: Any = None) -> None:
        """Run the teardown_request hooks, if there are any."""
        if self.teardown_request_funcs or request_tearing_down.receivers:
            super().do_teardown_request(exc)

    def do_teardown_appcontext(self, exc: Any = None) -> None:
        """Run the teardown_appcontext hooks, if there are any."""
        if self.teardown_appcontext_funcs or appcontext_tearing_down.receivers:
            super().do_teardown_appcontext(exc)

    def full_response(self, environ: dict[str, Any]) -> flask.Response:
        """The answer of a plain Flask route (one that no edition knows), errors included."""
        with self.request_context(environ):
            try:
                return self.full_dispatch_request()
            except Exception as exc:  # noqa: BLE001 - Flask's own outermost edge
                return self.handle_exception(exc)


class MatchedContext(RequestContext):
    """Flask's context of a request, whose parts are made when a hook, an error handler or a view asks.

    Made ahead, as Flask does it, they cost a fifth of a GET's whole time.
    """

    def __init__(self, app: Flask, environ: Callable[[], dict[str, Any]], match: Match) -> None:
        self.app = app
        self.flashes = None
        self._session = NoSession.null
        self._after_request_functions = []
        self._cv_tokens = []
        self._environ = environ
        self._match = match

    @cached_property
    def request(self) -> flask.Request:  # type: ignore[override]
        """The request, with the match that was already made."""
        request = self.app.request_class(self._environ())
        request.json_module = self.app.json
        request.url_rule, request.view_args = self._match
        return request

    @cached_property
    def url_adapter(self) -> MapAdapter | None:  # type: ignore[override]
        """What `url_for` builds with."""
        return self.app.create_url_adapter(self.request)

    def push(self) -> None:
        """Bind it to the current task."""
        app_context = self.app.app_context()
        app_context.push()
        self._cv_tokens.append((_cv_request.set(self), app_context))

    def pop(self, exc: BaseException | None = None) -> None:
        """Run the teardown hooks and unbind it."""
        try:
            self.app.do_teardown_request(exc)
        finally:
            token, app_context = self._cv_tokens.pop()
            _cv_request.reset(token)
            if "request" in self.__dict__:
                del self.request.environ["werkzeug.request"]  # a cycle, which only the collector would free
            if app_context is not None:
                app_context.pop(exc)


class View:
    """What Flask holds for an operation; the dispatcher awaits `handler`."""

    def __init__(self, operation: AbstractOperation, handler: Callable[..., Any]) -> None:
        self.path: str = operation.path
        self.method: str = operation.method.upper()
        self.handler = handler
        self.__name__ = operation.operation_id

    def __call__(self, **arguments: Any) -> Any:
        """Start the handler: a coroutine to await."""
        return self.handler(**arguments)


class HandlerResolver(Resolver):
    """Finds an operation's handler in the registry; an operation without one answers 501."""

    def __init__(self, registered: Mapping[str, Registered], missing: Callable[..., Any]) -> None:
        super().__init__()
        self._registered = registered
        self._missing = missing

    def resolve(self, operation: AbstractOperation) -> Resolution:
        """Return the operation's handler."""
        name = operation.operation_id
        found = self._registered.get(name)
        return Resolution(found.handle if found else self._missing, name)


class OperationsApi(FlaskApi):
    """Connexion's FlaskApi that keeps its views: the stock one rebuilds its decorators on each call."""

    views: list[tuple[View, str]]

    def make_operation(self, operation: AbstractOperation) -> View:
        """Register a view under the blueprint and remember it for the dispatcher."""
        view = View(operation, operation.function)
        if not hasattr(self, "views"):
            self.views = []
        endpoint = flask_utils.flaskify_endpoint(operation.operation_id, operation.randomize_endpoint)
        self.views.append((view, endpoint))
        return view


class FlaskMiddleware(SpecMiddleware):
    """The innermost application: Flask with one blueprint for each edition."""

    def __init__(self, import_name: str) -> None:
        self.app = Flask(import_name)
        self.app.json = OrjsonProvider(self.app)
        self.app.config["PROPAGATE_EXCEPTIONS"] = False
        self.app.url_map.converters["float"] = flask_utils.NumberConverter
        self.app.url_map.converters["int"] = flask_utils.IntegerConverter
        self.apis: dict[str, OperationsApi] = {}

    def add_api(self, specification: Specification, *, name: str, **options: Any) -> OperationsApi:
        """Register the blueprint of an edition."""
        api = OperationsApi(specification, **options)
        self.app.register_blueprint(api.blueprint, name=name)
        self.apis[name] = api
        return api

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Never reached: the dispatcher answers everything."""
        raise NotImplementedError


class CheckedSpecification(OpenAPISpecification):
    """A facade: Connexion's own check of it against OpenAPI's schema would take 0.3 s at each start."""

    @classmethod
    def _validate_spec(cls, spec: Any) -> None:
        """Nothing is left to check."""


class Application(AbstractApp):
    """Connexion's application with one middleware, the dispatcher."""

    _middleware_app: FlaskMiddleware

    def __init__(self, import_name: str, **options: Any) -> None:
        self._middleware_app = FlaskMiddleware(import_name)
        super().__init__(import_name, middlewares=[], **options)
        self.flask = self._middleware_app.app

    def add_edition(self, name: str, facade: dict[str, Any]) -> None:
        """Register the operations of an edition, whose facade `spec` has made and needs no check."""
        options = {**self.middleware.options.__dict__, "base_path": None, "name": name}
        self.middleware.apis.append(API(CheckedSpecification(facade), **options))

    def add_url_rule(
        self, rule: str, endpoint: str | None = None, view_func: Any = None, **options: Any
    ) -> None:
        """Add a plain Flask route."""
        self.flask.add_url_rule(rule, endpoint, view_func, **options)

    def add_error_handler(self, code_or_exception: Any, function: Any) -> None:
        """Add a Flask error handler."""
        self.flask.register_error_handler(code_or_exception, function)

    def build(self, dispatcher: Callable[[FlaskMiddleware], Any]) -> Any:
        """Build the middleware stack now, before the fork, and return the dispatcher that is all of it."""
        self.middleware.middlewares = [dispatcher]
        self.middleware.app, self.middleware.middleware_stack = self.middleware._build_middleware_stack()  # noqa: SLF001
        return self.middleware.app
