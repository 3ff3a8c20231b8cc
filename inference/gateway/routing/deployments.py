"""What a worker knows of each deployment: its open requests, how fast it answers, what failed in a row."""

import time
from collections.abc import Callable
from typing import Protocol

import structlog

from inference.errors import ProviderError, ProviderLimited
from inference.gateway.routing.affinity import score
from inference.gateway.routing.cooldowns import Cooldowns
from inference.gateway.routing.error_classes import error_class
from inference.gateway.routing.routes import OWN_ONLY, ErrorClass, Route
from inference.gateway.routing.targets import Target

MOST = 2048
"""Deployments that are known at once; patterns make one of each model that is asked for."""

NEWEST = 0.3
"""Weight of the newest latency in the moving average."""

HALF_LIFE = 60.0
"""Seconds in which the known latency of a deployment that is not asked halves, so that it is tried again."""

LONGEST_COOLDOWN = 3600.0
"""Seconds; a provider may ask for a longer wait."""

AT_ONCE = frozenset({401, 402, 403, 429})
"""Statuses after which a deployment cools down at once: its account cannot be used now."""

log = structlog.get_logger("astrolabe.routing")


class DeploymentFull(ProviderLimited):
    """A deployment has as many open requests as its `max_concurrent` says; it was not asked."""


class Observer(Protocol):
    """Counts what becomes of requests to deployments; routes and deployments are named as in the file."""

    def answered(self, route: str, deployment: str, outcome: str, seconds: float) -> None:
        """Count an attempt: `outcome` is `ok`, or the class of its error (`rejected` if it has none).

        `seconds` go to a whole answer or to the first event of a stream.
        """

    def cooled(self, deployment: str, error_class: str, until: float) -> None:
        """Count a cooldown that has begun; `until` is in seconds since the epoch."""

    def lifted(self, deployment: str) -> None:
        """Note that a cooldown was ended by an answer."""


class Silent:
    """Counts nothing."""

    def answered(self, route: str, deployment: str, outcome: str, seconds: float) -> None:
        """Do nothing."""

    def cooled(self, deployment: str, error_class: str, until: float) -> None:
        """Do nothing."""

    def lifted(self, deployment: str) -> None:
        """Do nothing."""


class State:
    """What is known of one deployment; latencies are those of whole answers and of streams' first events."""

    __slots__ = ("asked_at", "failed_at", "failures", "latencies", "open")

    def __init__(self) -> None:
        self.open = 0
        self.failures = 0
        self.failed_at = 0.0
        self.asked_at = 0.0
        self.latencies: list[float | None] = [None, None]

    def measure(self, seconds: float, *, is_stream: bool) -> None:
        """Add a latency to the moving average of its kind."""
        before = self.latencies[is_stream]
        self.latencies[is_stream] = seconds if before is None else before + NEWEST * (seconds - before)

    def latency(self, now: float, *, is_stream: bool) -> float:
        """Return the expected latency: 0 for one to try, infinite for one that is being tried."""
        known = self.latencies[is_stream]
        if known is None:
            return float("inf") if self.open else 0.0
        idle: float = 0.5 ** ((now - self.asked_at) / HALF_LIFE)
        return known * idle


class Deployments:
    """The deployments that a worker asks, in the order of each route's strategy."""

    def __init__(self, cooldowns: Cooldowns, clock: Callable[[], float] = time.monotonic) -> None:
        self.cooldowns = cooldowns
        self.observer: Observer = Silent()
        self._clock = clock
        self._states: dict[str, State] = {}

    def state(self, key: str) -> State:
        """Return what is known of a deployment."""
        state = self._states.get(key)
        if state is None:
            if len(self._states) >= MOST:
                self._states = {key: state for key, state in self._states.items() if state.open}
            state = self._states[key] = State()
        return state

    def ordered(
        self, route: Route, affinity: bytes | None, *, is_stream: bool
    ) -> tuple[list[Target], list[Target]]:
        """Return a route's deployments in the order in which they are asked, and those that cool down.

        A deployment with no room for another request comes last.
        """
        if len(route.targets) > 1:
            affinity = affinity if route.has_affinity else None
            ready = sorted(route.targets, key=self._preference(route, affinity, is_stream=is_stream))
        else:
            ready = [*route.targets]
        resting = [target for target in ready if self.cooldowns.of(target.key) is not None]
        return [target for target in ready if target not in resting] if resting else ready, resting

    def _preference(
        self, route: Route, affinity: bytes | None, *, is_stream: bool
    ) -> Callable[[Target], tuple[bool, float, float]]:
        """Return the sort key of deployments: with room first, then the strategy's order."""
        now = self._clock()

        def preference(target: Target) -> tuple[bool, float, float]:
            state = self.state(target.key)
            is_full = target.max_concurrent is not None and state.open >= target.max_concurrent
            by_weight = -score(target.weight, affinity, target.key)
            if affinity is not None or route.strategy == "weighted":
                return is_full, 0.0, by_weight
            if not target.weight:
                return is_full, float("inf"), by_weight
            if route.strategy == "least_busy":
                return is_full, state.open / target.weight, by_weight
            return is_full, state.latency(now, is_stream=is_stream), by_weight

        return preference

    def succeeded(self, target: Target, seconds: float, *, is_stream: bool) -> None:
        """Note an answer: what failed before it does not count any more."""
        state = self.state(target.key)
        state.failures = 0
        state.measure(seconds, is_stream=is_stream)
        if self.cooldowns.of(target.key) is not None:
            self.cooldowns.lift(target.key)
            self.observer.lifted(target.name)

    def failed(self, route: Route, target: Target, error: ProviderError, seconds: float) -> None:
        """Count a failed attempt."""
        outcome = error_class(error) or "rejected"
        self.observer.answered(route.name, target.name, outcome, seconds)

    def judge(self, target: Target, error: ProviderError) -> None:
        """Cool a deployment down that has failed too often, or that says itself that it cannot be used.

        To be called once for each request that it failed, so that the retries of one request do not count.
        """
        kind = error_class(error)
        if kind is None or kind in OWN_ONLY or isinstance(error, DeploymentFull):
            return  # the request is at fault, or nobody
        if error.status == 404 and target.name != target.key:
            return  # clients may ask a pattern for models that nobody has
        state, rule, now = self.state(target.key), target.cooldown, self._clock()
        if error.status in AT_ONCE:
            self._cool(target, error, min(error.retry_after or rule.seconds, LONGEST_COOLDOWN), kind)
            return
        if now - state.failed_at > rule.window:
            state.failures = 0
        if not state.failures:
            state.failed_at = now
        state.failures += 1
        if state.failures >= rule.failures:
            state.failures = 0
            self._cool(target, error, rule.seconds, kind)

    def _cool(self, target: Target, error: ProviderError, seconds: float, kind: ErrorClass) -> None:
        is_new = self.cooldowns.of(target.key) is None
        self.cooldowns.start(target.key, seconds, kind)
        if is_new:
            self.observer.cooled(target.name, kind, time.time() + seconds)
            log.warning(
                "deployment_cooled_down",
                deployment=target.key,
                seconds=seconds,
                status=error.status,
                reason=error.message,
            )

    def reset(self, start: str) -> None:
        """Begin anew with the deployments whose keys begin with `start`: they were changed."""
        for key, state in self._states.items():
            if key.startswith(start):
                state.failures, state.latencies = 0, [None, None]
        for key in self.cooldowns.all():
            if key.startswith(start):
                self.cooldowns.lift(key)
