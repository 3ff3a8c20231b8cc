"""What a specification, or a request measured against it, can be refused for.

SpecError
├── InvalidSpec            start-up: `file: place: reason`, one line
├── PathNotFound             the edition has no such path (404)
├── MethodNotAllowed       it has the path, not the method (405); `allow` lists what it has
├── InvalidRequest                a request does not fit its operation (400); `param` names the field
└── InvalidResponse           a response does not fit its operation: a bug, or a provider's liberty
"""

from collections.abc import Sequence


class SpecError(Exception):
    """The root of everything that spec raises."""


class InvalidSpec(SpecError):
    """Start-up cannot go on with this file: `file: place: reason`, in one line."""

    def __init__(self, file: str, place: str, reason: str) -> None:
        super().__init__(" ".join(f"{file}: {place}: {reason}".split()))
        self.file = file
        self.place = place
        self.reason = reason


class PathNotFound(SpecError):
    """No operation of the edition has that path."""


class MethodNotAllowed(SpecError):
    """The path is known, the method is not; `allow` is the sorted list for the Allow header."""

    def __init__(self, method: str, allow: Sequence[str]) -> None:
        super().__init__(f"{method} is not allowed here, {', '.join(allow)} is.")
        self.method = method
        self.allow = list(allow)


class InvalidRequest(SpecError):
    """A request that its operation does not allow, in OpenAI's wording.

    `param` is the path of the field (`messages[0].content`), None where the whole body is meant.
    """

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class InvalidResponse(SpecError):
    """A response that its operation does not describe; `param` is the path of the property."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
