"""Connexion's application over Flask: what start-up and the request path use of both.

Connexion loads the edition, knows its operations and resolves each to a handler; Flask holds the
blueprints, the context, the hooks and the error handlers. ARCHITECTURE.md lists what is bypassed
and why.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
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
from flask.json.provider import JSONProvider
from flask.sessions import NullSession, SessionInterface
from flask.signals import appcontext_tearing_down, request_tearing_down
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter, Rule

from handlers.errors import NotFound
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


class BodylessRequest(flask.Request):
    """A request whose body Flask never sees, so that it has no files to close."""

    def close(self) -> None:
        """Do nothing: no file is open."""


class NoRequest:
    """Stands for a request that nobody has asked Flask for."""

    def __init__(self) -> None:
        self.environ: dict[str, Any] = {}


NO_REQUEST = NoRequest()


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
    request_class = BodylessRequest
    url_rule_class = LazyRule

    def matched_context(self, environ: Callable[[], dict[str, Any]], match: Match) -> "MatchedContext":
        """The context of a request that is matched already; `environ` makes what Flask knows of it."""
        return MatchedContext(self, environ, match)

    def create_url_adapter(self, request: flask.Request | None) -> MapAdapter | None:
        """Make the adapter that `url_for` builds with, unless the request is not made yet."""
        return None if isinstance(request, NoRequest) else super().create_url_adapter(request)

    def endpoint_of(self, method: str, path: str) -> str | None:
        """Return the endpoint of a path, or None if there is none."""
        try:
            name, _ = self._adapter.match(path, method)
        except HTTPException:
            return None
        return str(name)

    @cached_property
    def _adapter(self) -> MapAdapter:
        return self.url_map.bind("")

    def preprocess_request(self) -> Any:
        """Run the before_request hooks, if there are any."""
        if self.before_request_funcs or self.url_value_preprocessors:
            return super().preprocess_request()
        return None

    @property
    def has_response_hooks(self) -> bool:
        """Whether anybody registered an after_request hook."""
        return bool(self.after_request_funcs)

    @property
    def has_teardown_hooks(self) -> bool:
        """Whether anybody registered a teardown_request hook."""
        return bool(self.teardown_request_funcs or request_tearing_down.receivers)

    def do_teardown_request(self, exc: Any = None) -> None:
        """Run the teardown_request hooks, if there are any."""
        if self.has_teardown_hooks:
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
        super().__init__(app, {}, request=NO_REQUEST, session=NoSession.null)  # type: ignore[arg-type]
        self._make_environ = environ
        self._match = match
        del self.__dict__["request"]

    @cached_property
    def request(self) -> flask.Request:  # type: ignore[override]
        """The request, with the match that was already made."""
        request = self.app.request_class(self._make_environ())
        request.json_module = self.app.json
        request.url_rule, request.view_args = self._match
        return request

    @cached_property
    def url_adapter(self) -> MapAdapter | None:  # type: ignore[override]
        """What `url_for` builds with."""
        return self.app.create_url_adapter(self.request)

    def push(self) -> None:
        """Bind it to the current task; without a URL adapter Flask matches no URL."""
        super().push()
        del self.__dict__["url_adapter"]

    def pop(self, exc: BaseException | None = None) -> None:
        """Run the teardown hooks and unbind it, without making a request that nobody has asked for."""
        if not self.app.has_teardown_hooks:  # type: ignore[attr-defined]
            self.__dict__.setdefault("request", NO_REQUEST)
        super().pop(exc)


class View:
    """What Flask knows of an operation. Requests reach its handler through the pipeline, never by Flask."""

    def __init__(self, operation: AbstractOperation) -> None:
        self.__name__ = operation.operation_id

    def __call__(self, **_: Any) -> Any:
        """Refuse a path that only Flask takes for the operation's, such as one with `//` in it."""
        raise NotFound(f"Invalid URL ({flask.request.method} {flask.request.environ['PATH_INFO']})")


async def missing(**_: Any) -> None:
    """Stand for an operation without a handler, which answers 501."""


class HandlerResolver(Resolver):
    """Finds an operation's handler in the registry."""

    def __init__(self, registered: Mapping[str, Registered]) -> None:
        super().__init__()
        self._registered = registered

    def resolve(self, operation: AbstractOperation) -> Resolution:
        """Return the operation's handler."""
        name = operation.operation_id
        found = self._registered.get(name)
        return Resolution(found.handle if found else missing, name)


class OperationsApi(FlaskApi):
    """Connexion's FlaskApi with views that refuse: the stock ones are run by Flask, in a thread each."""

    def make_operation(self, operation: AbstractOperation) -> View:
        """Make the view that the blueprint holds."""
        return View(operation)


class FlaskMiddleware(SpecMiddleware):
    """The innermost application: Flask with one blueprint for each edition."""

    def __init__(self, import_name: str) -> None:
        self.app = Flask(import_name)
        self.app.json = OrjsonProvider(self.app)
        self.app.config["PROPAGATE_EXCEPTIONS"] = False
        self.app.url_map.merge_slashes = False
        self.app.url_map.converters["float"] = flask_utils.NumberConverter
        self.app.url_map.converters["int"] = flask_utils.IntegerConverter

    def add_api(self, specification: Specification, *, name: str, **options: Any) -> OperationsApi:
        """Register the blueprint of an edition."""
        api = OperationsApi(specification, **options)
        self.app.register_blueprint(api.blueprint, name=name)
        return api

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Do nothing: requests go through the pipeline."""


class CheckedSpecification(OpenAPISpecification):
    """A facade: Connexion's own check of it against OpenAPI's schema would take 0.3 s at each start."""

    @classmethod
    def _validate_spec(cls, spec: Any) -> None:
        """Check nothing: spec has made it from a checked document. Connexion offers no public switch."""


class Application(AbstractApp):
    """Connexion's application, which start-up builds; requests do not pass through its middlewares."""

    _middleware_app: FlaskMiddleware

    def __init__(self, import_name: str, **options: Any) -> None:
        self._middleware_app = FlaskMiddleware(import_name)
        super().__init__(import_name, middlewares=[], **options)
        self.flask = self._middleware_app.app

    def add_edition(self, name: str, facade: dict[str, Any]) -> None:
        """Register the operations of an edition, whose facade `spec` has made and needs no check."""
        options = {**self.middleware.options.__dict__, "base_path": None, "name": name}
        self.middleware.apis.append(API(CheckedSpecification(facade), **options))

    def build(self) -> None:
        """Build now, before the fork, what Connexion builds at its first call."""
        call = self({"type": "build"}, None, None)
        with suppress(StopIteration):
            call.send(None)

    def rules(self, name: str) -> dict[str, Rule]:
        """Return Flask's rules of an edition's operations, by the operations' Python names."""
        prefix = f"{name}."
        return {
            rule.endpoint.removeprefix(prefix): rule
            for rule in self.flask.url_map.iter_rules()
            if rule.endpoint.startswith(prefix)
        }

    def add_url_rule(
        self, rule: str, endpoint: str | None = None, view_func: Any = None, **options: Any
    ) -> None:
        """Add a plain Flask route."""
        self.flask.add_url_rule(rule, endpoint, view_func, **options)

    def add_error_handler(self, code_or_exception: Any, function: Any) -> None:
        """Add a Flask error handler."""
        self.flask.register_error_handler(code_or_exception, function)
