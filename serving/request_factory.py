"""Makes the record of a request from its ASGI scope, whatever form its path has."""

from collections.abc import Callable

from serving.azure import is_azure, openai_request
from serving.request import Headers, Receive, Request, Scope

MESSAGE = "MESSAGE"
"""What is logged as the method of a request that came as a message of a WebSocket."""


class RequestFactory:
    """Makes requests; `rewrite` changes their scopes first."""

    def __init__(self, new_id: Callable[[], str], rewrite: Callable[[Scope], Scope] | None = None) -> None:
        self._new_id = new_id
        self._rewrite = rewrite

    def __call__(self, scope: Scope, receive: Receive) -> Request:
        """Return the request of a scope."""
        if self._rewrite is not None:
            scope = self._rewrite(scope)
        path, model = scope["path"], None
        if is_azure(scope):
            scope, model = openai_request(scope)
            path = scope["path"]
        raw_path = scope.get("raw_path")
        return Request(
            self._new_id(),
            scope["method"],
            path,
            raw_path.decode("latin-1").partition("?")[0] if raw_path else path,
            scope["query_string"],
            Headers(scope["headers"]),
            receive,
            scope,
            default_model=model,
        )

    def for_message(self, handshake: Request, receive: Receive) -> Request:
        """Return the request that a message of a WebSocket stands for."""
        return Request(
            self._new_id(),
            MESSAGE,
            handshake.path,
            handshake.raw_path,
            handshake.query,
            handshake.headers,
            receive,
            handshake.scope,
            default_model=handshake.default_model,
            connection=handshake.connection,
        )
