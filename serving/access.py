"""The access stage: one log line and three observations for each request."""

import time
from datetime import UTC, datetime

from serving.logs import RequestLog
from serving.metrics import Metrics
from serving.request import Request

PROBE = "probe"

CLIENT_CLOSED_REQUEST = 499
"""The status that is logged where the client disconnected, as nginx does."""


class AccessLog:
    """Counts and logs requests: which operation, for whom, how long; never their contents."""

    def __init__(self, metrics: Metrics, log: RequestLog) -> None:
        self._metrics = metrics
        self._log = log

    def record(self, request: Request, status: int) -> None:
        """Record a request that has been answered with `status`."""
        seconds = time.perf_counter() - request.started
        operation = request.operation_id
        self._metrics.observe(operation, status, seconds, request.received, request.sent)
        if self._log.enabled and operation != PROBE:
            self._log.write(
                {
                    "timestamp": datetime.now(UTC),
                    "level": "info",
                    "logger": "astrolabe.access",
                    "event": "request_finished",
                    "operation": operation,
                    "method": request.method,
                    "status": status,
                    "seconds": round(seconds, 6),
                    "received": request.received,
                    "sent": request.sent,
                    "project": request.principal.project,
                    "request_id": request.id,
                }
            )
