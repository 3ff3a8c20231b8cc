"""Errors of specifications, and of requests and responses that do not match them.

SpecError
├── InvalidSpec            start-up: `file: place: reason`, one line
├── PathNotFound           the edition has no such path (404)
├── MethodNotAllowed       it has the path, not the method (405); `allow` lists what it has
├── InvalidRequest         a request does not fit its operation (400); `param` names the field
└── InvalidResponse        a response does not fit its operation: a bug, or an odd provider
"""

from collections.abc import Sequence


class SpecError(Exception):
    """Base class of spec's errors."""


class InvalidSpec(SpecError):
    """A file that cannot be served: `file: place: reason`, in one line."""

    def __init__(self, file: str, place: str, reason: str) -> None:
        super().__init__(" ".join(f"{file}: {place}: {reason}".split()))
        self.file = file
        self.place = place
        self.reason = reason


class PathNotFound(SpecError):
    """The edition has no such path."""


class MethodNotAllowed(SpecError):
    """The path exists, but not with that method; `allow` is the sorted list for the Allow header."""

    def __init__(self, method: str, allow: Sequence[str]) -> None:
        super().__init__(f"{method} is not allowed; use {', '.join(allow)}.")
        self.method = method
        self.allow = list(allow)


class InvalidRequest(SpecError):
    """A request that does not fit its operation, in OpenAI's wording.

    `param` is the path of the field (`messages[0].content`), None for the whole body.
    """

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class InvalidResponse(SpecError):
    """A response that does not fit its operation; `param` is the path of the property."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
