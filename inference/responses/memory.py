"""The responses that a connection remembers: chains of `store: false` continue from them."""

from collections import OrderedDict

from persistence import large_json
from persistence.types import JSON

MAX_RESPONSES = 64
"""Responses that a connection remembers."""

MAX_BYTES = 32 * 1024 * 1024
"""Bytes of their contexts, counted as JSON."""


class ConnectionMemory:
    """The contexts of a connection's latest responses by response id; the oldest make room for new ones."""

    def __init__(self, *, max_responses: int = MAX_RESPONSES, max_bytes: int = MAX_BYTES) -> None:
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._contexts: OrderedDict[str, tuple[list[JSON], int]] = OrderedDict()
        self._bytes = 0

    def get(self, response_id: str) -> list[JSON] | None:
        """Return the context that a response left, its input and output items; None if it is forgotten."""
        found = self._contexts.get(response_id)
        return found[0] if found else None

    async def put(self, response_id: str, items: list[JSON]) -> None:
        """Remember the context that a response left; one over the limit on bytes is not remembered."""
        size = len(await large_json.dumps(items))
        self.discard(response_id)
        self._contexts[response_id] = items, size
        self._bytes += size
        while len(self._contexts) > self._max_responses or self._bytes > self._max_bytes:
            self.discard(next(iter(self._contexts)))

    def discard(self, response_id: str) -> None:
        """Discard a response: one that failed to be continued cannot be continued again."""
        found = self._contexts.pop(response_id, None)
        if found is not None:
            self._bytes -= found[1]
