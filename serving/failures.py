"""Turns whatever a request raises into an error of OpenAI's shape."""

import flask
import orjson
import structlog
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import NotFound as NoFlaskRoute

from handlers.context import SEND_AGAIN
from handlers.errors import ApiError, BadRequest, ServerError, Unauthorized, Unavailable, map_error
from persistence.errors import StoreError
from serving.routing import Routing
from spec.errors import InvalidRequest

log = structlog.get_logger("astrolabe.failures")


def to_api_error(exc: BaseException) -> ApiError:
    """Return the error that the client sees; log what it must not see."""
    if isinstance(exc, InvalidRequest):
        return BadRequest(exc.message, param=exc.param, code=exc.code)
    error = map_error(exc)
    if error is None:
        log.error("request_failed", exc_info=exc)
        return ServerError("The server had an error while processing your request. Sorry about that!")
    if isinstance(exc, StoreError) and error.status >= 500:
        log.warning("store_failed", error=str(exc))  # node, host, cause: not for the client
    return error


def stopping_error(after_stop: str = SEND_AGAIN) -> ApiError:
    """Return the error of an answer that a stop ends; `after_stop` is a sentence for its client."""
    return Unavailable(f"The server is stopping. {after_stop}", headers={"Retry-After": "1"})


def revoked_error() -> ApiError:
    """Return the error of a stream whose key was revoked."""
    return Unauthorized("The API key of this stream was revoked.")


def error_event(body: bytes) -> bytes:
    """Return an error's body as a Server-Sent Event, which OpenAI's SDK raises as an APIError."""
    return b"event: error\ndata: " + body + b"\n\n"


def add_error_handlers(app: flask.Flask, routing: Routing) -> None:
    """Have Flask answer everything that can be raised in OpenAI's shape."""

    def respond(error: ApiError) -> flask.Response:
        body = orjson.dumps(error.body())
        response = app.response_class(body, status=error.status, content_type="application/json")
        response.headers.update(error.headers)
        return response

    def on_http_exception(exc: HTTPException) -> flask.Response:
        if isinstance(exc, NoFlaskRoute) and flask.request.url_rule is None:
            return respond(routing.not_found(flask.request.method, flask.request.path))
        status = exc.code or 500
        kind = "invalid_request_error" if status < 500 else "server_error"
        return respond(ApiError(exc.description or exc.name, status=status, type=kind))

    def on_exception(exc: Exception) -> flask.Response:
        return respond(to_api_error(exc))

    app.register_error_handler(HTTPException, on_http_exception)
    app.register_error_handler(Exception, on_exception)
