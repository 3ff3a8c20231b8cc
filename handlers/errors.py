"""What an operation can answer instead of its object, in OpenAI's error shape.

ApiError
├── BadRequest          400 invalid_request_error
├── Unauthorized        401 invalid_request_error, invalid_api_key
├── Forbidden           403 invalid_request_error
├── NotFound            404 invalid_request_error
├── MethodNotAllowed    405 invalid_request_error
├── ConflictError       409 invalid_request_error
├── TooLarge            413 invalid_request_error
├── TooManyRequests     429 requests
├── ServerError         500 server_error
├── NotImplementedYet   501 invalid_request_error
└── Unavailable         503 server_error, with Retry-After
"""

from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """An answer of a status of 400 and more: `{"error": {"message", "type", "param", "code"}}`."""

    status = 500
    type = "server_error"
    code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers = dict(headers or {})
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status
        if type is not None:
            self.type = type

    def body(self) -> dict[str, Any]:
        """The error as OpenAI's SDK reads it."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}


class BadRequest(ApiError):
    """The request cannot be served as it is; `param` names the field."""

    status, type = 400, "invalid_request_error"


class Unauthorized(ApiError):
    """No key, or one that is unknown or revoked."""

    status, type, code = 401, "invalid_request_error", "invalid_api_key"


class Forbidden(ApiError):
    """The key may not do that."""

    status, type = 403, "invalid_request_error"


class NotFound(ApiError):
    """No such object in the caller's project, or no such path."""

    status, type = 404, "invalid_request_error"


class MethodNotAllowed(ApiError):
    """The path is served, the method is not."""

    status, type = 405, "invalid_request_error"


class ConflictError(ApiError):
    """The object's state does not allow that now."""

    status, type = 409, "invalid_request_error"


class TooLarge(ApiError):
    """The body is over the operator's limit."""

    status, type = 413, "invalid_request_error"


class TooManyRequests(ApiError):
    """A rate limit was met."""

    status, type, code = 429, "requests", "rate_limit_exceeded"


class ServerError(ApiError):
    """A bug of ours."""

    status, type = 500, "server_error"


class NotImplementedYet(ApiError):
    """The edition has the operation, the server has no handler for it."""

    status, type, code = 501, "invalid_request_error", "not_implemented"


class Unavailable(ApiError):
    """Something behind the server does not answer; trying again may help."""

    status, type = 503, "server_error"
