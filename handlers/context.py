"""The context that a handler gets, and the answers that it may return."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from inference.gateway.relay import RelayedResponse
from persistence.types import JSON

if TYPE_CHECKING:
    from inference.assistants.runs import Runs
    from inference.batches.batches import Batches
    from inference.code.containers import Containers
    from inference.gateway import CallerSettings, Gateway
    from inference.jobs import Jobs
    from inference.mcp.pool import MCPServers
    from inference.responses.conversations import Conversations
    from inference.responses.memory import ConnectionMemory
    from inference.responses.responses import Responses
    from inference.retrieval import Retrieval
    from inference.web.web_search import WebSearchType
    from inference.webhooks.delivery import Webhooks
    from persistence.store import Store

SEND_AGAIN = "Send the request again."


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one worker, made at start-up and shared by all requests."""

    store: "Store"
    gateway: "Gateway"
    jobs: "Jobs"
    runs: "Runs"
    retrieval: "Retrieval"
    conversations: "Conversations"
    responses: "Responses"
    webhooks: "Webhooks"
    batches: "Batches"
    containers: "Containers"
    web_search: "WebSearchType"
    mcp: "MCPServers"


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest body without its files, and the largest file, of a caller's request; in bytes."""

    body: int = 32 * 1024 * 1024
    file: int = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller of an operation.

    A caller sees only the objects of its `project`. `key_id` is None if no key is needed. `is_astra` is
    true where the caller uses the headers of the Astra Assistants API. `services` are the tenant's own,
    where its token opens a store of its own, and `tenant` names that store. `has_store` is false for a
    caller known by a provider's key only, who may ask models but store nothing.
    """

    project: str
    key_id: str | None = None
    role: str = "member"
    limits: Limits = Limits()
    is_astra: bool = False
    services: Services | None = None
    tenant: str = ""
    has_store: bool = True

    @property
    def sharer(self) -> str:
        """Who gets a share of the worker's memory and slots; projects of tenants' stores may be namesakes."""
        return self.tenant or self.project


@dataclass(frozen=True, slots=True)
class Context:
    """One call of an operation: the caller, the edition and the request's headers.

    The names of `headers` are lower case. `edition` is the edition's name; `assistants_v1` is true if
    the caller sent `OpenAI-Beta: assistants=v1`. `open_stream` sends the headers of an event stream
    ahead of its first event, once; None where nothing is sent. `connection` is what the caller's
    WebSocket remembers; None for a request over HTTP. `settings` are the provider settings that the caller
    had when it created a batch, for calls of its lines, which have no headers.
    """

    services: Services
    principal: Principal
    operation_id: str
    edition: str
    request_id: str
    headers: Mapping[str, str] = field(default_factory=dict)
    assistants_v1: bool = False
    open_stream: Callable[[], None] | None = None
    connection: "ConnectionMemory | None" = None
    settings: "CallerSettings | None" = None

    @property
    def project(self) -> str:
        """The caller's project."""
        return self.principal.project


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file of a form, already in the store as the content `content_id`.

    The serving layer deletes the content unless the handler succeeds.
    """

    content_id: str
    filename: str
    content_type: str
    size: int
    md5: str


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer of Server-Sent Events; each item of `events` is one or more whole events.

    `events` is closed (`aclose`) when the client disconnects. `after_stop` tells the client what it can
    do when the server's stop ends the stream.
    """

    events: AsyncIterator[bytes]
    after_stop: str = SEND_AGAIN

    def changed(self, change: Callable[[bytes], Awaitable[bytes]]) -> "Stream":
        """Return the stream with each event changed, without its blank line; b"" leaves it out."""
        return replace(self, events=_changed(self.events, change))


async def _changed(
    pieces: AsyncIterator[bytes], change: Callable[[bytes], Awaitable[bytes]]
) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in pieces:
            changed = [await change(event) for event in piece.split(b"\n\n") if event]
            if any(changed):
                yield b"".join(event + b"\n\n" for event in changed if event)
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()


@dataclass(frozen=True, slots=True)
class Binary:
    """An answer of bytes, such as a file's content."""

    pieces: AsyncIterator[bytes]
    size: int
    content_type: str = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Relayed:
    """A provider's JSON. A mismatch with the edition is counted; it is never an error."""

    value: JSON


Answer = JSON | Stream | Binary | Relayed | RelayedResponse
