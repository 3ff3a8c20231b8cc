"""Lists of tools that servers gave to runs of threads: the next run of a thread need not ask again."""

import hashlib
import time
from collections import OrderedDict

from inference.mcp.servers import RemoteServer, Server
from persistence.types import JSON

KEPT_SECONDS = 300.0
"""Seconds after which a run asks the server again."""

KEPT_LISTS = 32
"""Lists that a worker keeps."""

ListKey = tuple[str, str, str, bytes]
"""Project, thread, label, and a hash of the server's URL and of what is sent to it."""


class ThreadLists:
    """Keeps the newest lists of this worker; another worker asks the server itself."""

    def __init__(self) -> None:
        self._lists: OrderedDict[ListKey, tuple[float, list[JSON]]] = OrderedDict()

    def find(self, key: ListKey) -> list[JSON] | None:
        """Return a list that is not too old."""
        until, tools = self._lists.get(key, (0.0, []))
        return tools if time.monotonic() < until else None

    def keep(self, key: ListKey, tools: list[JSON]) -> None:
        """Keep a list instead of the oldest one."""
        self._lists.pop(key, None)
        self._lists[key] = (time.monotonic() + KEPT_SECONDS, tools)
        if len(self._lists) > KEPT_LISTS:
            self._lists.popitem(last=False)


def list_key(project: str, thread: str, label: str, server: Server) -> ListKey:
    """Return the key of the list of a server in a thread; it holds no secret."""
    parts = (server.url, *sorted(server.headers.items())) if isinstance(server, RemoteServer) else ()
    return project, thread, label, hashlib.sha256(repr(parts).encode()).digest()
