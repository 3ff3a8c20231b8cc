"""What `/metrics` shows: requests and durations by prometheus-flask-exporter, sizes and streams here.

Labels are operations and statuses, never ids. Under gunicorn the values of all workers are added
up through the files of PROMETHEUS_MULTIPROC_DIR, which gunicorn.conf.py makes.
"""

import os
from typing import Any

import flask
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_flask_exporter import PrometheusMetrics
from prometheus_flask_exporter.multiprocess import GunicornInternalPrometheusMetrics

OPERATION = "astrolabe.operation"
"""Key of the WSGI environ under which the dispatcher leaves the operation's id."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)
BYTES = (256, 1024, 4096, 16384, 65536, 262144, 1048576, 16777216, 268435456)


def operation(request: flask.Request) -> str:
    """The operationId that a request was matched to."""
    return str(
        request.environ.get(OPERATION) or (request.url_rule.endpoint if request.url_rule else "unmatched")
    )


class Metrics:
    """The server's meters; one of each in a process."""

    def __init__(self, app: flask.Flask) -> None:
        options: dict[str, Any] = {
            "group_by": operation,
            "defaults_prefix": "astrolabe",
            "buckets": SECONDS,
            "path": "/metrics",
        }
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            exporter = GunicornInternalPrometheusMetrics(app, **options)
        else:
            exporter = PrometheusMetrics(app, registry=CollectorRegistry(), **options)
        registry = exporter.registry
        self._request_bytes = Histogram(
            "astrolabe_http_request_size_bytes",
            "Size of request bodies",
            ("operation",),
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
        self._stream_seconds = Histogram(
            "astrolabe_stream_duration_seconds",
            "Time from a stream's request to its end",
            ("operation",),
            buckets=SECONDS,
            registry=registry,
        )
        self._unconforming = Counter(
            "astrolabe_unconforming_responses_total",
            "Answers that did not fit the edition, by whether a provider wrote them",
            ("operation", "origin"),
            registry=registry,
        )
        self._labelled: dict[tuple[str, int], Any] = {}

    def sizes(self, operation: str, status: int, received: int, sent: int) -> None:
        """Count the bodies of one exchange."""
        key = (operation, status)
        meters = self._labelled.get(key)
        if meters is None:
            meters = self._labelled[key] = (
                self._request_bytes.labels(operation),
                self._response_bytes.labels(operation, str(status)),
            )
        if received:
            meters[0].observe(received)
        meters[1].observe(sent)

    def stream_ended(self, operation: str, seconds: float) -> None:
        """Count one stream that ended."""
        self._stream_seconds.labels(operation).observe(seconds)

    def unconforming(self, operation: str, origin: str) -> None:
        """Count an answer that did not fit; `origin` is `server` or `provider`."""
        self._unconforming.labels(operation, origin).inc()
