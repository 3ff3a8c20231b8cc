"""What `/metrics` shows, through prometheus-flask-exporter.

Labels are operations and statuses, never ids. Under gunicorn the values of all workers are added
up through the files of PROMETHEUS_MULTIPROC_DIR, which `multiprocess` makes.
"""

import os
from typing import Any

import flask
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_flask_exporter import PrometheusMetrics
from prometheus_flask_exporter.multiprocess import GunicornInternalPrometheusMetrics

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)
BYTES = (256, 1024, 4096, 16384, 65536, 262144, 1048576, 16777216, 268435456)


class Metrics:
    """The server's meters; one of each in a process.

    The exporter serves /metrics and adds up the workers. Its own request hooks are left out
    (`export_defaults`): they cost 60 µs a request, the two observations here 8.
    """

    def __init__(self, app: flask.Flask) -> None:
        options: dict[str, Any] = {
            "export_defaults": False,
            "defaults_prefix": "astrolabe",
            "path": "/metrics",
        }
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            exporter = GunicornInternalPrometheusMetrics(app, **options)
        else:
            exporter = PrometheusMetrics(app, registry=CollectorRegistry(), **options)
        registry = exporter.registry
        self._seconds = Histogram(
            "astrolabe_http_request_duration_seconds",
            "Time from a request's head to its answer's last byte",
            ("operation", "status"),
            buckets=SECONDS,
            registry=registry,
        )
        self._request_bytes = Histogram(
            "astrolabe_http_request_size_bytes",
            "Size of request bodies",
            ("operation", "status"),
            buckets=BYTES,
            registry=registry,
        )
        self._response_bytes = Histogram(
            "astrolabe_http_response_size_bytes",
            "Size of response bodies",
            ("operation", "status"),
            buckets=BYTES,
            registry=registry,
        )
        self.open_streams = Gauge(
            "astrolabe_open_streams", "Streams being sent now", multiprocess_mode="livesum", registry=registry
        )
        self._unconforming = Counter(
            "astrolabe_unconforming_responses_total",
            "Answers that did not fit the edition, by whether a provider wrote them",
            ("operation", "origin"),
            registry=registry,
        )
        self._meters: dict[tuple[str, int], tuple[Any, Any, Any]] = {}

    def exchanged(self, operation: str, status: int, seconds: float, received: int, sent: int) -> None:
        """Count one request and its answer; sizes are in bytes, of bodies."""
        meters = self._meters.get((operation, status))
        if meters is None:
            labels = (operation, str(status))
            meters = (
                self._seconds.labels(*labels),
                self._request_bytes.labels(*labels),
                self._response_bytes.labels(*labels),
            )
            self._meters[operation, status] = meters
        meters[0].observe(seconds)
        if received:
            meters[1].observe(received)
        meters[2].observe(sent)

    def unconforming(self, operation: str, origin: str) -> None:
        """Count an answer that did not fit; `origin` is `server` or `provider`."""
        self._unconforming.labels(operation, origin).inc()
