"""What a batch needs of the server that it runs in: the operations that its lines call."""

from dataclasses import dataclass
from typing import Protocol

from inference.gateway import CallerSettings
from persistence.types import JSON


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends the lines of a batch: the project that created it, with its caller's provider settings."""

    project: str
    settings: CallerSettings | None = None


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """The response to one line; `retry_after` is in seconds."""

    status: int
    request_id: str
    body: bytes
    retry_after: float | None = None

    @property
    def is_success(self) -> bool:
        """Whether the line's response goes into the output file."""
        return 200 <= self.status < 300


class LineCaller(Protocol):
    """Calls the operation that a line names, as a request over HTTP would."""

    @property
    def longest_line(self) -> int:
        """Bytes of the longest line that is accepted."""

    async def check(self, sender: Sender, endpoint: str, raw: bytes) -> JSON:
        """Return a line as Python data, with its body as the operation takes it; raise InvalidRequest."""

    async def call(self, sender: Sender, endpoint: str, body: JSON) -> LineAnswer:
        """Return the response to a line's body, errors included."""
