"""What a model's provider, or the way to it, can fail with.

InferenceError
├── ModelNotFound        no route serves that model name
├── RoutesRefused        start-up: models.yaml is wrong; the message has its line and the reason
├── ProviderError        the provider answered with an error, or not at all
│   ├── ProviderRejected     4xx other than 429: the request's fault; carries the provider's body
│   ├── ProviderLimited      429
│   ├── ProviderTimeout      nothing came for longer than the route's timeout
│   └── ProviderBroken       5xx, or the connection was lost
│       └── ProviderUnreadable   an answer that is none
└── DocumentError        a file's text cannot be had: `code` is unsupported_file or invalid_file
"""

from persistence.types import JSON


class InferenceError(Exception):
    """The root of everything that inference raises."""


class ModelNotFound(InferenceError):
    """No route serves that model name; `hint` says what is served instead."""

    def __init__(self, model: str, hint: str = "") -> None:
        super().__init__(f"The model '{model}' does not exist{hint and '. '}{hint}")
        self.model = model


class RoutesRefused(InferenceError):
    """models.yaml cannot be used; the message names the file, the line and the reason."""


class ProviderError(InferenceError):
    """A provider answered with an error, or not at all.

    `status` is the HTTP status a client of ours should see; `body` is the provider's own error
    object (`{"message", "type", "param", "code"}`) where it sent one, without any key in it.
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
    """The provider refused the request as it is."""


class ProviderLimited(ProviderError):
    """The provider's rate limit was met."""


class ProviderTimeout(ProviderError):
    """Nothing came from the provider for longer than the route's timeout."""


class ProviderBroken(ProviderError):
    """The provider failed, closed the connection, or sent what is no answer."""


class ProviderUnreadable(ProviderBroken):
    """The provider's answer cannot be read; asking it again would bring the same, and cost the same."""


class DocumentError(InferenceError):
    """A file's text cannot be had; `code` is OpenAI's: unsupported_file, invalid_file, server_error."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
