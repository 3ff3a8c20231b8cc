"""The stages of an operation in their order: authenticate, limit, decode, call, respond."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from handlers import realtime
from handlers.context import Principal
from handlers.errors import Unauthorized
from inference.gateway.realtime import ProviderSocket
from inference.retrieval.contents import discard
from persistence.errors import StoreError
from persistence.store import Store
from persistence.types import JSON
from serving.auth import Authenticator
from serving.calling import HandlerCaller
from serving.decoding import Decoder
from serving.failures import log, to_api_error
from serving.limits import check_declared
from serving.request import Headers, Request
from serving.responses import Responder, Response, error_response
from serving.routes import Route
from serving.routing import Routing
from spec.parameters import split_query


class Pipeline:
    """Runs operations, for HTTP requests and for callers without a socket."""

    def __init__(
        self,
        *,
        routing: Routing,
        authenticator: Authenticator,
        decoder: Decoder,
        caller: HandlerCaller,
        responder: Responder,
        store: Store,
        new_id: Callable[[], str],
    ) -> None:
        self.routing = routing
        self.new_id = new_id
        self._authenticator = authenticator
        self._decoder = decoder
        self._caller = caller
        self._responder = responder
        self._store = store

    async def handle(self, request: Request, route: Route) -> Response:
        """Return the response of a routed HTTP request; raises what its stages raise."""
        if not route.is_public:
            request.principal = await self._authenticator.authenticate(request)
        check_declared(request)
        arguments = await self._decoder.decode(request, route)
        answer = await self._caller.call(request, route, arguments)
        return await self._responder.respond(request, route, answer)

    async def call(self, operation: str, arguments: Mapping[str, Any], principal: Principal) -> Response:
        """Return the response of an operation that is called without a socket, errors included.

        `operation` is an operationId of the default edition. `arguments` are the parameters by name
        and, as `body`, the JSON body. A `Pieces` body must be closed.
        """
        request = Request(self.new_id(), "POST", "", "", b"", Headers(()), principal=principal)
        try:
            route = self.routing.find_operation(request, operation)
            checked = self._decoder.check(request, route, arguments)
        except Exception as exc:  # noqa: BLE001 - the outermost edge, as HTTP's
            return error_response(to_api_error(exc))
        return await self.run(request, route, checked)

    async def run(self, request: Request, route: Route, arguments: dict[str, Any]) -> Response:
        """Return the response of an operation whose arguments were checked, errors included."""
        try:
            answer = await self._caller.call(request, route, arguments)
            return await self._responder.respond(request, route, answer)
        except Exception as exc:  # noqa: BLE001 - the outermost edge, as HTTP's
            return error_response(to_api_error(exc))

    async def admit(self, request: Request, operation: str) -> Route:
        """Authenticate a WebSocket's handshake, or one of its messages; return the operation's route."""
        route = self.routing.find_operation(request, operation)
        request.principal = await self._authenticator.authenticate(request)
        return route

    async def open_realtime(self, request: Request, operation: str) -> ProviderSocket:
        """Authenticate a handshake, and open its provider's WebSocket; raises as the stages do."""
        await self.admit(request, operation)
        return await realtime.connect(self._caller.context(request), dict(split_query(request.query)))

    async def decode_message(
        self, request: Request, route: Route, raw: bytes, parsed: Any, beside: Sequence[str]
    ) -> JSON:
        """Return an admitted message's body with the members named by `beside`; raises as the stages do."""
        return await self._decoder.decode_message(request, route, raw, parsed, beside)

    async def has_valid_key(self, request: Request) -> bool:
        """Return whether the key of a request that was authenticated still opens its project.

        A store that does not answer says nothing against the key.
        """
        if request.principal.key_id is None:
            return True
        try:
            await self._authenticator.authenticate(request)
        except Unauthorized:
            return False
        except StoreError:
            return True
        return True

    async def discard_uploads(self, request: Request) -> None:
        """Delete the files of a request that failed; a second failure is only logged."""
        principal = request.principal
        store = principal.services.store if principal.services else self._store
        for upload in request.uploads:
            try:
                await discard(store, principal.project, upload.content_id)
            except StoreError as exc:
                log.warning("upload_not_deleted", content=upload.content_id, reason=str(exc))
