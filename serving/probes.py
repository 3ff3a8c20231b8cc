"""Whether this worker runs and can serve, for load balancers."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson
import structlog

from persistence.errors import StoreFull
from serving.lifespan import Service

READY = "/readyz"
ALIVE = "/livez"

log = structlog.get_logger("astrolabe.probes")


class Probes:
    """Answers /livez at once, and /readyz once every service that has a ping has answered.

    `set_full` is called with the name of each service and whether it has no room.
    """

    def __init__(self, services: Sequence[Service], set_full: Callable[[str, bool], None]) -> None:
        self._set_full = set_full
        self._pings = {service.name: service.ping for service in services if service.ping is not None}

    async def answer(self, path: str, *, stopping: bool) -> tuple[int, bytes] | None:
        """Return (status, JSON) for a probe's path; None for any other path."""
        if path == ALIVE:
            return 200, orjson.dumps({"status": "alive"})
        if path != READY:
            return None
        checks: dict[str, Any] = {}
        can_serve = True
        for name, ping in self._pings.items():
            try:
                checks[name] = await ping() or "ok"
            except StoreFull as exc:  # Reads and deletes go on: without a route to it nobody could make room.
                checks[name] = "full"
                log.warning("store_full", service=name, reason=str(exc))
            except Exception as exc:  # noqa: BLE001 - whatever a service raises, it is not ready
                can_serve = False
                checks[name] = "unavailable"
                log.warning("service_not_ready", service=name, reason=str(exc))  # may name hosts and paths
            self._set_full(name, checks[name] == "full")
        ready = can_serve and not stopping
        status = "ready" if ready else "stopping" if stopping else "not ready"
        return 200 if ready else 503, orjson.dumps({"status": status, "checks": checks})
