"""Errors of operations, in OpenAI's form.

ApiError
├── BadRequest          400 invalid_request_error
├── Unauthorized        401 invalid_request_error, invalid_api_key
├── Forbidden           403 invalid_request_error
├── NotFound            404 invalid_request_error
├── MethodNotAllowed    405 invalid_request_error
├── ConflictError       409 invalid_request_error
├── TooLarge            413 invalid_request_error
├── FailedDependency    424 external_connector_error
├── TooManyRequests     429 requests
├── ServerError         500 server_error
├── NotImplementedYet   501 invalid_request_error
└── Unavailable         503 server_error, with Retry-After
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from inference import errors as inference
from inference.batches import errors as batches
from inference.engine import errors as runs
from inference.mcp import errors as mcp
from inference.responses import errors as responses
from inference.responses.items import ItemRefused
from inference.retrieval import errors as retrieval
from persistence import errors as persistence
from persistence.types import JSON


class ApiError(Exception):
    """An error with its HTTP status: `{"error": {"message", "type", "param", "code"}}`."""

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

    def body(self) -> JSON:
        """Return the error as OpenAI's SDK reads it."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}


class BadRequest(ApiError):
    """The request is invalid; `param` names the field."""

    status, type = 400, "invalid_request_error"


class Unauthorized(ApiError):
    """The key is missing, unknown or revoked."""

    status, type, code = 401, "invalid_request_error", "invalid_api_key"


class Forbidden(ApiError):
    """The key's role does not allow the operation."""

    status, type = 403, "invalid_request_error"


class NotFound(ApiError):
    """No such object in the caller's project, or no such path."""

    status, type = 404, "invalid_request_error"


class MethodNotAllowed(ApiError):
    """The path exists, but not with that method."""

    status, type = 405, "invalid_request_error"


class UpgradeRequired(ApiError):
    """A WebSocket was asked for where there is none, or HTTP where there is nothing else."""

    status, type, code = 426, "invalid_request_error", "upgrade_required"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"Upgrade": "websocket"})


class ConflictError(ApiError):
    """The object's state does not allow the request."""

    status, type = 409, "invalid_request_error"


class TooLarge(ApiError):
    """The body is larger than the operator's limit."""

    status, type = 413, "invalid_request_error"


class FailedDependency(ApiError):
    """A server that the request names did not answer as it should."""

    status, type = 424, "external_connector_error"


class TooManyRequests(ApiError):
    """A rate limit was reached."""

    status, type, code = 429, "requests", "rate_limit_exceeded"


class ServerError(ApiError):
    """A bug of the server."""

    status, type = 500, "server_error"


class NotImplementedYet(ApiError):
    """The edition has the operation, but the server has no handler for it."""

    status, type, code = 501, "invalid_request_error", "not_implemented"


class Unavailable(ApiError):
    """The database or another service does not answer; a retry may help."""

    status, type = 503, "server_error"


def map_error(exc: BaseException) -> ApiError | None:
    """Return the ApiError for an error of a lower layer; None if the error is a bug."""
    if isinstance(exc, ApiError):
        return exc
    for kind, answer in ERROR_MAP:
        if isinstance(exc, kind):
            return answer(exc)
    return None


def _model_not_found(exc: inference.ModelNotFound) -> ApiError:
    return NotFound(str(exc), param="model", code="model_not_found")


def _provider(exc: inference.ProviderError) -> ApiError:
    """Return the provider's message and status, with the type that OpenAI would use if it has none."""
    body = exc.body
    headers = {} if exc.retry_after is None else {"Retry-After": str(math.ceil(exc.retry_after))}
    if exc.status == NotImplementedYet.status:
        headers["x-should-retry"] = "false"
    code = body.get("code")
    return ApiError(
        exc.message,
        status=exc.status,
        type=_text(body.get("type")) or ("server_error" if exc.status >= 500 else "invalid_request_error"),
        param=_text(body.get("param")),
        code=None if code is None else str(code),
        headers=headers,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _limited(exc: inference.ProviderLimited) -> ApiError:
    error = _provider(exc)
    error.type = _text(exc.body.get("type")) or TooManyRequests.type
    error.code = error.code or TooManyRequests.code
    return error


def _unavailable(_: persistence.StoreError) -> ApiError:
    return Unavailable("The database does not answer; try again shortly.", headers={"Retry-After": "1"})


def _full(_: persistence.StoreError) -> ApiError:
    return ApiError("The server has no room left to store that.", status=507, code="storage_full")


def _conflict(_: persistence.StoreError) -> ApiError:
    return ConflictError("The object was changed by another request at the same time.", code="conflict")


def _cursor(_: persistence.StoreError) -> ApiError:
    return BadRequest("The cursor names no object of this list.", param="after", code="invalid_value")


def _content(_: persistence.StoreError) -> ApiError:
    return NotFound("The file's content does not exist.", code="not_found")


def _dimensions(_: persistence.StoreError) -> ApiError:
    return BadRequest("The vector store's chunks were embedded by another model.", code="invalid_value")


def _large(exc: persistence.StoreError) -> ApiError:
    return BadRequest(f"The object is too large to be stored. {exc}".strip(), code="object_too_large")


def _object_not_found(exc: retrieval.ObjectNotFound) -> ApiError:
    return NotFound(exc.message, param=exc.param, code=exc.code)


def _request_refused(exc: inference.FieldError | ItemRefused) -> ApiError:
    return BadRequest(exc.message, param=exc.param, code=exc.code)


def _settings_not_kept(exc: inference.SettingsNotKept) -> ApiError:
    return BadRequest(str(exc), code="settings_not_kept")


def _gone(exc: inference.InferenceError) -> ApiError:
    return NotFound(str(exc))


def _batch_not_cancellable(exc: batches.BatchNotCancellable) -> ApiError:
    return BadRequest(str(exc), param="batch_id")


def _conversation_locked(exc: responses.ConversationLocked) -> ApiError:
    return BadRequest(str(exc), param="conversation", code="conversation_locked")


def _context_too_long(exc: responses.ContextTooLong) -> ApiError:
    return BadRequest(str(exc), param="input", code="context_length_exceeded")


def _item_not_found(exc: responses.ItemNotFound) -> ApiError:
    return NotFound(str(exc), param="input")


def _response_not_found(exc: responses.ResponseNotFound) -> ApiError:
    if exc.previous:
        message, code = str(exc), "previous_response_not_found"
        return BadRequest(message, param="previous_response_id", code=code)
    return NotFound(str(exc))


def _response_unfinished(exc: responses.ResponseUnfinished) -> ApiError:
    return BadRequest(str(exc), param="previous_response_id", code="response_unfinished")


def _outputs(exc: runs.OutputsRefused | runs.ApprovalUnreadable) -> ApiError:
    return BadRequest(str(exc), param="tool_outputs")


def _tool_list_failed(exc: mcp.ToolListFailed) -> ApiError:
    return FailedDependency(exc.message, param="tools", code="http_error")


def _run_state(exc: runs.RunError) -> ApiError:
    return BadRequest(str(exc))


ERROR_MAP: tuple[tuple[type[Exception], Callable[[Any], ApiError]], ...] = (
    (retrieval.ObjectNotFound, _object_not_found),
    (retrieval.RequestRefused, _request_refused),
    (runs.RunGone, _gone),
    (runs.EventsGone, _gone),
    (runs.OutputsRefused, _outputs),
    (runs.OutputsNotAwaited, _run_state),
    (runs.ConversationBusy, _run_state),
    (runs.IllegalTransition, _run_state),
    (mcp.ToolListFailed, _tool_list_failed),
    (runs.ApprovalUnreadable, _outputs),
    (runs.ToolRefused, _request_refused),
    (runs.ToolUnavailable, _request_refused),
    (batches.BatchNotFound, _gone),
    (batches.BatchNotCancellable, _batch_not_cancellable),
    (responses.ConversationNotFound, _gone),
    (responses.ConversationLocked, _conversation_locked),
    (responses.ContextTooLong, _context_too_long),
    (responses.ItemNotFound, _item_not_found),
    (responses.PromptNotFound, _gone),
    (responses.ResponseNotFound, _response_not_found),
    (responses.ResponseUnfinished, _response_unfinished),
    (ItemRefused, _request_refused),
    (inference.ModelNotFound, _model_not_found),
    (inference.SettingsNotKept, _settings_not_kept),
    (inference.ProviderLimited, _limited),
    (inference.ProviderError, _provider),
    (persistence.Conflict, _conflict),
    (persistence.CursorNotFound, _cursor),
    (persistence.ContentNotFound, _content),
    (persistence.DimensionMismatch, _dimensions),
    (persistence.DocumentTooLarge, _large),
    (persistence.StoreUnavailable, _unavailable),
    (persistence.StoreFull, _full),
)
"""The ApiError for each error of inference and persistence; the first match counts."""
