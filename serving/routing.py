"""The routing stage: which edition and which operation a request means."""

from handlers.errors import MethodNotAllowed, NotFound, UpgradeRequired
from serving.request import Request
from serving.routes import Route, ServedEdition
from spec.errors import MethodNotAllowed as WrongMethod
from spec.errors import PathNotFound

PREFIX = "/v1"
ASSISTANTS_V1 = b"assistants=v1"


class Routing:
    """Finds the route of a request. The edition added first is the default."""

    def __init__(self) -> None:
        self._editions: dict[str, ServedEdition] = {}
        self._assistants_v1: ServedEdition | None = None

    def add(self, served: ServedEdition) -> None:
        """Serve an edition."""
        self._editions[served.edition.name] = served
        if served.is_assistants_v1:
            self._assistants_v1 = served

    @property
    def default(self) -> ServedEdition:
        """The edition of requests that name none."""
        return next(iter(self._editions.values()))

    @property
    def editions(self) -> list[ServedEdition]:
        """Every served edition, the default first."""
        return list(self._editions.values())

    def find(self, request: Request) -> Route:
        """Set the request's edition, route and path values; raises NotFound or MethodNotAllowed.

        The handshake of a WebSocket that a proxy has made a plain request raises UpgradeRequired.
        """
        request.edition = self.default
        path = request.raw_path[len(PREFIX) :]
        is_v1 = self.is_assistants_v1(path, request.headers.raw(b"openai-beta"))
        request.edition = served = (is_v1 and self._assistants_v1) or self.default
        try:
            operation, values = served.router.match(request.method, path, request.query.decode("latin-1"))
        except PathNotFound as exc:
            _refuse_handshake(request)
            if served is not self.default and self._exists(request.method, path):
                raise NotFound(
                    f"Edition {served.edition.name} has no {request.method} {request.path}; "
                    "send OpenAI-Beta: assistants=v2."
                ) from exc
            raise self.not_found(request.method, request.path) from exc
        except WrongMethod as exc:
            _refuse_handshake(request)
            allowed = ", ".join(exc.allow)
            raise MethodNotAllowed(
                f"Not allowed to {request.method} on {request.path}. Allowed: {allowed}.",
                code="method_not_supported",
                headers={"Allow": allowed},
            ) from exc
        request.path_values = values
        request.route = route = served.routes[operation.id]
        request.operation_id = operation.id
        return route

    def is_assistants_v1(self, path: str, beta: bytes) -> bool:  # noqa: ARG002 - for the astra mode
        """Return whether a request, by its `OpenAI-Beta` header, means version 1 of the Assistants API."""
        return ASSISTANTS_V1 in beta

    def find_operation(self, request: Request, operation_id: str) -> Route:
        """Set the request's edition and route by an operationId; raises NotFound."""
        request.edition = request.edition or self.default
        route = request.edition.routes.get(operation_id)
        if route is None:
            raise NotFound(f"Edition {request.edition.edition.name} has no operation '{operation_id}'.")
        request.route, request.operation_id = route, operation_id
        return route

    def not_found(self, method: str, path: str) -> NotFound:
        """Return the error of an unknown path, which names the path that was probably meant."""
        hint = ""
        if not path.startswith(f"{PREFIX}/") and self._exists(method, path):
            hint = f"; did you mean {PREFIX}{path}?"
        return NotFound(f"Invalid URL ({method} {path}){hint}")

    def _exists(self, method: str, path: str) -> bool:
        try:
            self.default.router.match(method, path, "")
        except Exception:  # noqa: BLE001 - whatever is wrong with it, it is no path to suggest
            return False
        return True


def _refuse_handshake(request: Request) -> None:
    if request.headers.raw(b"sec-websocket-key"):
        raise UpgradeRequired(
            f"No WebSocket can be opened at {request.path}: the request has no 'Upgrade: websocket', which a "
            "proxy may have removed. Use HTTP, or have the proxy keep the headers Upgrade and Connection."
        )
