"""A provider's WebSocket of the Realtime API, in a thread."""

import json
import threading
from http import HTTPStatus
from typing import Any, Self

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve


class RealtimeProvider:
    """Begins each session with the request that it got, and answers a client's events as they say.

    `response.create` is answered with deltas; `{"type": "test.send", "size": N, "count": M}` with messages
    of that size, `test.close` with a close of its `code` and `reason`, `test.abort` with a broken
    connection, any other with its echo. The model `refused` is refused with 401, `odd` with 520, `moved`
    redirects.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.closed: list[tuple[int | None, str | None]] = []
        self._server = serve(self._serve, "127.0.0.1", 0, process_request=_refuse, max_size=None)
        self.port = self._server.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()

    def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        headers = dict(connection.request.headers.raw_items())
        session = {"path": connection.request.path, "headers": headers}
        connection.send(json.dumps({"type": "session.created", "session": session}))
        try:
            for message in connection:
                self._answer(connection, message)
        except ConnectionClosed:
            pass
        self.closed.append((connection.close_code, connection.close_reason))

    def _answer(self, connection: ServerConnection, message: str | bytes) -> None:
        event: Any = json.loads(message) if isinstance(message, str) else {}
        match event.get("type"):
            case "response.create":
                for text in ("It ", "is ", "sunny."):
                    connection.send(json.dumps({"type": "response.output_text.delta", "delta": text}))
                connection.send(json.dumps({"type": "response.done"}))
            case "test.send":
                for _ in range(event["count"]):
                    connection.send(json.dumps({"type": "test.sent", "text": "x" * event["size"]}))
                    self.sent += 1
            case "test.close":
                connection.close(event["code"], event["reason"])
            case "test.abort":
                connection.socket.shutdown(2)
            case _:
                connection.send(message)


def _refuse(_: ServerConnection, request: Request) -> Response | None:
    if "model=refused" in request.path:
        error = {
            "message": "Incorrect API key provided: " + request.headers["authorization"],
            "code": "bad_key",
        }
        body = json.dumps({"error": {**error, "type": "invalid_request_error", "param": None}}).encode()
        return Response(HTTPStatus.UNAUTHORIZED, "Unauthorized", Headers(), body)
    if "model=odd" in request.path:
        return Response(520, "Unknown Error", Headers(), b"")
    if "model=moved" in request.path:
        return Response(HTTPStatus.FOUND, "Found", Headers(Location="ws://127.0.0.1:1/"), b"")
    return None
