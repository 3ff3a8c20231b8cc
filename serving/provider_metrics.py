"""The metrics of requests to providers, by route and deployment as models.yaml names them."""

import asyncio
import collections

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from serving.metrics import FLUSH_SECONDS, SECONDS, Meter


class ProviderMetrics:
    """Counts what becomes of requests to deployments; sums go to the files that all workers share."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "astrolabe_provider_requests_total",
            "Requests to deployments, by outcome: ok, or the class of the error",
            ("route", "deployment", "outcome"),
            registry=registry,
        )
        self._seconds = Histogram(
            "astrolabe_provider_seconds",
            "Time to a deployment's whole answer, or to the first event of its stream",
            ("route", "deployment"),
            buckets=SECONDS,
            registry=registry,
        )
        self._cooldowns = Counter(
            "astrolabe_deployment_cooldowns_total",
            "Cooldowns of deployments that have begun, by the class of the error",
            ("deployment", "error_class"),
            registry=registry,
        )
        self._cooldown_end = Gauge(
            "astrolabe_deployment_cooldown_end_seconds",
            "When a deployment's last cooldown ends, as Unix time; 0 for one that was lifted",
            ("deployment",),
            multiprocess_mode="mostrecent",
            registry=registry,
        )
        self._waiting: list[tuple[str, str, str, float]] = []

    def answered(self, route: str, deployment: str, outcome: str, seconds: float) -> None:
        """Count a request, within FLUSH_SECONDS."""
        if not self._waiting:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)
        self._waiting.append((route, deployment, outcome, seconds))

    def cooled(self, deployment: str, error_class: str, until: float) -> None:
        """Count a cooldown that has begun."""
        self._cooldowns.labels(deployment, error_class).inc()
        self._cooldown_end.labels(deployment).set(until)

    def lifted(self, deployment: str) -> None:
        """Note that a cooldown was ended by an answer."""
        self._cooldown_end.labels(deployment).set(0)

    def _flush(self) -> None:
        counts = collections.Counter[tuple[str, str, str]]()
        meters: dict[tuple[str, str], Meter] = {}
        for route, deployment, outcome, seconds in self._waiting:
            counts[route, deployment, outcome] += 1
            if outcome == "ok":
                key = route, deployment
                if key not in meters:
                    meters[key] = Meter(self._seconds.labels(*key))
                meters[key].observe(seconds)
        self._waiting.clear()
        for labels, count in counts.items():
            self._requests.labels(*labels).inc(count)
        for meter in meters.values():
            meter.flush()
