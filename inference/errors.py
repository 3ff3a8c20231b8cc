"""Errors of models, their providers and documents.

InferenceError
├── FieldError           a request's field cannot be used; its subclasses are the services' own
├── ModelNotFound        no route serves that model name
├── FileRefused          start-up: a file of the operator is wrong; the message names line and reason
│   ├── RoutesRefused        models.yaml
│   ├── MCPServersRefused    the file of the MCP servers
│   ├── PromptsRefused       a prompt template
│   ├── ToolsRefused         the file of the operator's tools
│   └── WebhooksRefused      the webhooks' file
├── ProviderError        the provider answered with an error, or did not answer
│   ├── ProviderRejected     4xx other than 429: the request is at fault
│   ├── ProviderLimited      429
│   ├── ProviderTimeout      nothing came for longer than the route's timeout
│   └── ProviderBroken       5xx, or the connection was lost
│       └── ProviderUnreadable   the answer cannot be read
├── SettingsNotKept      the provider settings of a caller are not there for work in the background
└── DocumentError        a file's text cannot be read: `code` is unsupported_file or invalid_file
"""

from persistence.types import JSON


class InferenceError(Exception):
    """Base class of inference's errors."""


class FieldError(InferenceError):
    """A field of a request cannot be used; `param` is its path, `code` is OpenAI's where it has one."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code

    def put_below(self, path: str) -> None:
        """Say that the field is a member of what is at a path of the request."""
        self.param = f"{path}.{self.param}" if self.param else path


class ModelNotFound(InferenceError):
    """No route serves that model name; `hint` says what is served instead."""

    def __init__(self, model: str, hint: str = "") -> None:
        super().__init__(f"The model '{model}' does not exist{hint and '. '}{hint}")
        self.model = model
        self.hint = hint


class FileRefused(InferenceError):
    """A file of the operator cannot be used; the message names the file, the line and the reason."""


class RoutesRefused(FileRefused):
    """models.yaml cannot be used."""


class MCPServersRefused(FileRefused):
    """The file of the MCP servers cannot be used."""


class PromptsRefused(FileRefused):
    """A prompt template cannot be used."""


class ToolsRefused(FileRefused):
    """The file of the operator's tools cannot be used."""


class WebhooksRefused(FileRefused):
    """The file of the webhooks cannot be used."""


class ProviderError(InferenceError):
    """A provider answered with an error, or did not answer.

    `status` is the HTTP status for the client. `body` is the provider's error object (`message`, `type`,
    `param`, `code`) if it sent one, without any of its keys. `retry_after` is in seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 502,
        body: JSON | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.body = body or {}
        self.retry_after = retry_after


class ProviderRejected(ProviderError):
    """The provider refused the request, or would; the same request will be refused again."""

    @classmethod
    def invalid(cls, message: str, param: str | None, code: str | None = None) -> "ProviderRejected":
        """Return the error of a request that is refused before it is sent."""
        body = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
        return cls(message, status=400, body=body)


class ProviderLimited(ProviderError):
    """The provider's rate limit was reached."""


class ProviderTimeout(ProviderError):
    """The provider sent nothing for longer than the route's timeout."""


class ProviderBroken(ProviderError):
    """The provider failed, closed the connection, or sent an answer that cannot be read."""


class ProviderUnreadable(ProviderBroken):
    """The provider's answer cannot be read; a retry would probably get the same and cost the same."""


class SettingsNotKept(InferenceError):
    """The provider settings of a caller are not there for work in the background."""


class DocumentError(InferenceError):
    """A file's text cannot be read; `code` is OpenAI's: unsupported_file, invalid_file, server_error."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
