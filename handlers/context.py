"""What a handler is given beside the request's own fields, and what it may answer with."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from persistence.types import JSON

if TYPE_CHECKING:
    from inference.assistants.runs import Runs
    from inference.gateway import Gateway
    from inference.jobs import Jobs
    from inference.retrieval import Retrieval
    from persistence.store import Store


@dataclass(frozen=True, slots=True)
class Services:
    """One worker's parts, made at start-up and shared by all requests."""

    store: "Store"
    gateway: "Gateway"
    jobs: "Jobs"
    runs: "Runs"
    retrieval: "Retrieval"


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one request of a caller may bring, in bytes: a body without files, and a file."""

    body: int = 32 * 1024 * 1024
    file: int = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of an operation, as the authenticator found it.

    `project` bounds everything that the caller can see; `key_id` is None where no key is needed.
    """

    project: str
    key_id: str | None = None
    role: str = "member"
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Context:
    """One call of an operation: the caller, the edition and the request's headers.

    `headers` are lower case. `edition` is the edition's name; `assistants_v1` is true where the
    caller sent `OpenAI-Beta: assistants=v1`.
    """

    services: Services
    principal: Principal
    operation_id: str
    edition: str
    request_id: str
    headers: Mapping[str, str] = field(default_factory=dict)
    assistants_v1: bool = False

    @property
    def project(self) -> str:
        """The caller's project."""
        return self.principal.project


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A file part of a multipart body, already streamed into the store as content `content_id`.

    The serving layer forgets the content again unless the handler's answer is a success.
    """

    content_id: str
    filename: str
    content_type: str
    size: int
    md5: str


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer of Server-Sent Events: each item is one or more whole frames, sent as they come.

    `events` is closed (`aclose`) when the client hangs up.
    """

    events: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Binary:
    """An answer of bytes: a file's content."""

    pieces: AsyncIterator[bytes]
    size: int
    content_type: str = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Relayed:
    """A provider's JSON, checked leniently: what does not fit the spec is counted, not refused."""

    value: JSON


Answer = JSON | Stream | Binary | Relayed
