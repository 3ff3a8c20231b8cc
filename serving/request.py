"""The record that the stages of serving share about one request, and ASGI's types."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from handlers.context import Principal, UploadedFile
from inference.gateway import CallerSettings
from inference.responses.memory import ConnectionMemory
from inference.spool import Spool
from serving.routes import Route, ServedEdition

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

UNMATCHED = "unmatched"
"""What is logged as the operation of a path that nothing serves."""

ANONYMOUS = Principal("")
"""The principal of a request that is not authenticated yet or needs no key."""


class Headers(Mapping[str, str]):
    """A request's headers by lower-case name, decoded when asked for; of repeated ones the last."""

    __slots__ = ("_raw",)

    def __init__(self, headers: Any) -> None:
        self._raw: dict[bytes, bytes] = dict(headers)

    def __getitem__(self, name: str) -> str:
        return self._raw[name.encode("latin-1")].decode("latin-1")

    def raw(self, name: bytes) -> bytes:
        """Return the bytes of a header, empty for one that was not sent."""
        return self._raw.get(name, b"")

    def get(self, name: str, default: Any = None) -> Any:
        """Return a header, or `default`; Mapping's own raises KeyError inside, for most names."""
        value = self._raw.get(name.encode("latin-1"))
        return default if value is None else value.decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return iter([name.decode("latin-1") for name in self._raw])

    def __len__(self) -> int:
        return len(self._raw)


async def receive_nothing() -> Message:
    """Wait for ever, as a request without a socket has no body and no client that disconnects."""
    message: Message = await asyncio.get_running_loop().create_future()
    return message


@dataclass(slots=True)
class Request:
    """One request on its way through the stages; each stage fills in its part.

    `raw_path` is still percent-encoded. `received` and `sent` are bytes of bodies, `held` those in
    memory that `HeldBodies` counts, `spooled` those on disk that `SpooledBodies` counts. `open_stream`
    sends the head of an event stream whose first event takes long; None where nothing is sent.
    `release` is called at the end: the request no longer uses its tenant's store.
    `default_model` is the model of a body that names none (Azure's deployments). `connection` is what
    the WebSocket remembers that the request came over. `settings` are the provider settings of a batch's
    creator, where the request is one of its lines.
    """

    id: str
    method: str
    path: str
    raw_path: str
    query: bytes
    headers: Headers
    receive: Receive = receive_nothing
    scope: Scope = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)
    operation_id: str = UNMATCHED
    edition: ServedEdition | None = None
    route: Route | None = None
    path_values: dict[str, str] = field(default_factory=dict)
    principal: Principal = ANONYMOUS
    uploads: list[UploadedFile] = field(default_factory=list)
    received: int = 0
    sent: int = 0
    held: int = 0
    spooled: int = 0
    spool: Spool | None = None
    open_stream: Callable[[], None] | None = None
    default_model: str | None = None
    release: Callable[[], None] | None = None
    connection: ConnectionMemory | None = None
    settings: CallerSettings | None = None
