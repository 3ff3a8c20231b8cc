"""Whether this worker lives and whether it can serve, for load balancers."""

from collections.abc import Mapping
from typing import Any

import orjson

from handlers.context import Services
from persistence.errors import StoreError

READY = "/readyz"
ALIVE = "/livez"


class Probes:
    """Answers /livez at once, and /readyz once the store has answered."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def answer(self, path: str, *, stopping: bool) -> tuple[int, bytes] | None:
        """(status, JSON) of a probe's path; None for any other path."""
        if path == ALIVE:
            return 200, orjson.dumps({"status": "alive"})
        if path != READY:
            return None
        checks = await self._checks()
        ready = checks["store"] == "ok" and not stopping
        status = "ready" if ready else "stopping" if stopping else "not ready"
        return 200 if ready else 503, orjson.dumps({"status": status, "checks": checks})

    async def _checks(self) -> Mapping[str, Any]:
        checks: dict[str, Any] = {"retrieval": self._services.retrieval.describe()}
        try:
            await self._services.store.ping()
        except StoreError as exc:
            return {**checks, "store": str(exc)}
        return {**checks, "store": "ok"}
