"""The metrics that `/metrics` shows, through prometheus-flask-exporter.

Labels are operations and statuses, never ids. Under gunicorn the values of all workers are added
up through the files of PROMETHEUS_MULTIPROC_DIR, which `multiprocess` makes.
"""

import asyncio
import os
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import flask
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_flask_exporter import PrometheusMetrics
from prometheus_flask_exporter.multiprocess import GunicornInternalPrometheusMetrics

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)
BYTES = (256, 1024, 4096, 16384, 65536, 262144, 1048576, 16777216, 268435456)

FLUSH_SECONDS = 0.1
"""Seconds in which observations are added up before they go to the files that all workers share."""


class Meter:
    """Observations of one histogram, added up: one by one, a GET's cost an eighth of all its time."""

    __slots__ = ("_bounds", "_counts", "_histogram", "_sum")

    def __init__(self, histogram: Any) -> None:
        self._histogram = histogram
        self._bounds: list[float] = histogram._upper_bounds  # noqa: SLF001
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Add one observation."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def flush(self) -> None:
        """Add what came since the last time to the histogram; its public `observe` takes one at a time."""
        for bucket, count in zip(self._histogram._buckets, self._counts, strict=True):  # noqa: SLF001
            if count:
                bucket.inc(count)
        self._histogram._sum.inc(self._sum)  # noqa: SLF001
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0


class Metrics:
    """The server's meters; one of each in a process.

    The exporter serves /metrics and adds up the workers. Its own request hooks are left out
    (`export_defaults`): they cost 60 µs a request, the observations here 1.
    """

    def __init__(self, app: flask.Flask) -> None:
        self.registry = registry = _exporter(app).registry

        def histogram(name: str, help: str, buckets: Sequence[float]) -> Histogram:
            labels = ("operation", "status")
            return Histogram(f"astrolabe_http_{name}", help, labels, buckets=buckets, registry=registry)

        self._seconds = histogram(
            "request_duration_seconds", "Time from a request's head to the last byte of its response", SECONDS
        )
        self._request_bytes = histogram("request_size_bytes", "Size of request bodies", BYTES)
        self._response_bytes = histogram("response_size_bytes", "Size of response bodies", BYTES)
        self.open_streams = Gauge(
            "astrolabe_open_streams", "Streams being sent now", multiprocess_mode="livesum", registry=registry
        )
        self.open_websockets = Gauge(
            "astrolabe_open_websockets", "WebSockets open now", multiprocess_mode="livesum", registry=registry
        )
        self._full = Gauge(
            "astrolabe_service_full",
            "Whether a service had no room for more data when /readyz last asked it",
            ("service",),
            multiprocess_mode="mostrecent",
            registry=registry,
        )
        self._invalid = Counter(
            "astrolabe_invalid_responses_total",
            "Responses that did not fit the edition, by whether a provider wrote them",
            ("operation", "origin"),
            registry=registry,
        )
        self._meters: dict[tuple[str, int], tuple[Meter, ...]] = {}
        self._waiting: list[tuple[str, int, float, int, int]] = []

    def observe(self, operation: str, status: int, seconds: float, received: int, sent: int) -> None:
        """Count one request and its answer, within `FLUSH_SECONDS` seconds; sizes are in bytes, of bodies."""
        if not self._waiting:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)
        self._waiting.append((operation, status, seconds, received, sent))

    def _flush(self) -> None:
        changed = set()
        for operation, status, seconds, received, sent in self._waiting:
            meters = self._meters.get((operation, status)) or self._add_meters(operation, status)
            meters[0].observe(seconds)
            if received:
                meters[1].observe(received)
            meters[2].observe(sent)
            changed.add(meters)
        self._waiting.clear()
        for meters in changed:
            for meter in meters:
                meter.flush()

    def _add_meters(self, operation: str, status: int) -> tuple[Meter, ...]:
        kinds = (self._seconds, self._request_bytes, self._response_bytes)
        meters = tuple(Meter(kind.labels(operation, str(status))) for kind in kinds)
        self._meters[operation, status] = meters
        return meters

    def set_full(self, service: str, is_full: bool) -> None:
        """Show whether a service has no room for more data."""
        self._full.labels(service).set(is_full)

    def count_invalid(self, operation: str, origin: str) -> None:
        """Count a response that did not fit the edition; `origin` is `server` or `provider`."""
        self._invalid.labels(operation, origin).inc()


def _exporter(app: flask.Flask) -> PrometheusMetrics:
    options: dict[str, Any] = {"export_defaults": False, "defaults_prefix": "astrolabe", "path": "/metrics"}
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        return GunicornInternalPrometheusMetrics(app, **options)
    return PrometheusMetrics(app, registry=CollectorRegistry(), **options)
