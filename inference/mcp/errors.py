"""Errors of MCP servers.

InferenceError
└── ServerFailed         a server did not answer, or not as the protocol says
    └── ToolListFailed       its list of tools could not be fetched, so the run cannot begin
"""

from http import HTTPStatus

from inference.errors import InferenceError
from persistence.types import JSON


class ServerFailed(InferenceError):
    """A server did not answer a request as it should.

    `status` is its HTTP status, if that was the reason; `code` the one of its JSON-RPC error.
    """

    def __init__(self, message: str, *, status: int | None = None, code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code

    @property
    def error(self) -> JSON:
        """The error as a call's item shows it."""
        if self.code is not None:
            return {"type": "mcp_protocol_error", "code": self.code, "message": self.message}
        status = self.status or HTTPStatus.FAILED_DEPENDENCY
        return {"type": "http_error", "code": int(status), "message": self.message}


class ToolListFailed(ServerFailed):
    """A server's list of tools could not be fetched; the message is OpenAI's, with the reason."""

    def __init__(self, label: str, cause: ServerFailed) -> None:
        status = HTTPStatus.FAILED_DEPENDENCY if cause.status is None else cause.status
        shown = f"Http status code: {int(status)} ({_phrase(status)})"
        message = f"Error retrieving tool list from MCP server: '{label}'. {shown}. {cause.message}"
        super().__init__(message, status=cause.status, code=cause.code)
        self.label = label


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
