"""Asks the deployments of a route in turn, with retries, and then its fallbacks, until one has answered."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog

from inference.errors import ModelNotFound, ProviderError, ProviderRejected
from inference.gateway.failures import is_transient, may_fall_back
from inference.gateway.routing.deployments import DeploymentFull, Deployments
from inference.gateway.routing.error_classes import error_class
from inference.gateway.routing.routes import ErrorClass, Route
from inference.gateway.routing.targets import Target

MAX_RETRY_AFTER = 20.0
"""Seconds; if a provider asks for a longer wait, the client gets its Retry-After instead."""

MAX_WAIT_BEFORE_FALLBACK = 1.0
"""Seconds that a retry may wait where a fallback can answer."""

FIRST_DELAY = 0.25
MAX_DELAY = 8.0

Answer = TypeVar("Answer")

Check = Callable[[Any], Awaitable[tuple[Any, bool]]]
"""Returns an answer, read as far as needed, and whether a content filter has left nothing of it."""

log = structlog.get_logger("astrolabe.routing")


@dataclass(slots=True)
class Asked:
    """A request's way: its route, how fallbacks are found, and what the choice depends on.

    What happens to requests with a caller's credentials says nothing of the deployment: they are not
    `is_tracked`. `check` is asked about answers of routes with fallbacks for content policy, and `discard`
    closes an answer that is not used.
    """

    route: Route
    find: Callable[[str], Route]
    affinity: bytes | None = None
    is_stream: bool = False
    is_tracked: bool = True
    check: Check | None = None
    discard: Callable[[Any], Awaitable[None]] | None = None


class ContentFiltered(ProviderRejected):
    """An answer that a content filter has left empty, where a fallback may have a better one."""


@dataclass(slots=True)
class Answered(Generic[Answer]):
    """An answer, and the deployment that gave it; `release` it when it has been read to its end."""

    answer: Answer
    target: Target
    deployments: Deployments
    is_judged: bool
    is_open: bool = True

    def failed(self, error: ProviderError) -> None:
        """Note that the answer broke off."""
        if self.is_judged:
            self.deployments.judge(self.target, error)

    def release(self) -> None:
        """Count the request as ended."""
        if self.is_open:
            self.is_open = False
            self.deployments.state(self.target.key).open -= 1


class Router:
    """Chooses what answers a request; what it knows of the deployments outlives the routes."""

    def __init__(self, deployments: Deployments) -> None:
        self.deployments = deployments

    async def answer(self, asked: Asked, call: Callable[[Target], Awaitable[Answer]]) -> Answer:
        """Return the first whole answer."""
        route = asked.route
        if route.has_choice or route.targets[0].max_concurrent is not None:
            answered = await self.start(asked, call)
            answered.release()
            return answered.answer
        # The same for a route without a choice, in the fewest steps: most requests take this way.
        target, started = route.targets[0], time.monotonic()
        try:
            answer = await call(target)
        except ProviderError as exc:
            self.deployments.failed(route, target, exc, time.monotonic() - started)
            search = _Search(self.deployments, asked, call)
            answered = await search.ask(route, route.targets, failed=exc)
            answered.release()
            return answered.answer
        self.deployments.observer.answered(route.name, target.name, "ok", time.monotonic() - started)
        return answer

    async def start(self, asked: Asked, call: Callable[[Target], Awaitable[Answer]]) -> Answered[Answer]:
        """Return the first answer that begins; release it.

        Deployments of the route come first, then its fallbacks for the class of their error, and theirs in
        turn; those that cool down come last. If none answers, the error is that of the route that the
        caller named.
        """
        return await _Search(self.deployments, asked, call).run()


class _Search(Generic[Answer]):
    """The search for an answer to one request."""

    def __init__(
        self, deployments: Deployments, asked: Asked, call: Callable[[Target], Awaitable[Answer]]
    ) -> None:
        self._deployments = deployments
        self._asked = asked
        self._call = call
        self._errors: dict[str, ProviderError] = {}
        self._resting: list[tuple[Route, Sequence[Target]]] = []
        self._filtered: list[Answered[Answer]] = []

    async def run(self) -> Answered[Answer]:
        """Return the first answer; an empty one that a filter has ended only if there is no other."""
        try:
            return await self._run()
        except ProviderError:
            if not self._filtered:
                raise
            return self._filtered.pop(0)
        finally:
            for unused in self._filtered:
                unused.release()
                if self._asked.discard is not None:
                    await self._asked.discard(unused.answer)

    async def _run(self) -> Answered[Answer]:
        route = self._asked.route
        if not route.has_choice:
            return await self.ask(route, route.targets)
        answered = await self._visit(route, set())
        error = self._errors.get(route.name)
        if answered is not None:
            return answered
        if error is None or may_fall_back(error):
            for resting, targets in self._resting:
                try:
                    return await self.ask(resting, targets)
                except ProviderError as exc:
                    self._errors.setdefault(resting.name, exc)
        raise self._errors.get(route.name) or next(iter(self._errors.values()))

    async def _visit(self, route: Route, seen: set[str]) -> Answered[Answer] | None:
        """Return the answer of a route's deployments that do not cool down, or of its fallbacks."""
        seen.add(route.name)
        asked = self._asked
        ready, resting = self._deployments.ordered(route, asked.affinity, is_stream=asked.is_stream)
        if resting:
            self._resting.append((route, resting))
        kind: ErrorClass | None = self._reason(resting)
        if ready:
            try:
                return await self.ask(route, ready)
            except ProviderError as exc:
                self._errors[route.name] = exc
                kind = error_class(exc)
        for name in route.fallbacks_for(kind):
            if name not in seen:
                log.info("fallback_asked", route=route.name, fallback=name, error_class=kind)
                answered = await self._visit(asked.find(name), seen)
                if answered is not None:
                    return answered
        return None

    def _reason(self, resting: Sequence[Target]) -> ErrorClass:
        """Return why deployments cool down: the reason of the one that may be asked again first."""
        known = [self._deployments.cooldowns.of(target.key) for target in resting]
        found = [each for each in known if each is not None]
        return min(found).error_class if found else "default"

    async def ask(
        self, route: Route, targets: Sequence[Target], failed: ProviderError | None = None
    ) -> Answered[Answer]:
        """Return the answer of the first of these deployments that has one.

        Each is asked once before one is asked again, which waits; an error that all would give is raised.
        `failed` is that of the first attempt, if it has been made.
        """
        left, attempt = targets, 1
        while True:
            again, wait, error = [], MAX_RETRY_AFTER, None
            for target in left:
                try:
                    if failed is not None:
                        raise failed
                    return await self._ask_once(route, target)
                except ProviderError as exc:
                    failed = None
                    error = error or exc
                    if not may_fall_back(exc):
                        raise
                    if attempt == 1 and self._is_judged(route):
                        self._deployments.judge(target, exc)
                    if attempt < target.attempts and self._is_worth_retrying(route, exc):
                        again.append(target)
                        wait = min(wait, _wait(exc, attempt))
            if not again:
                raise error or ModelNotFound(route.name)
            left, attempt = again, attempt + 1
            await asyncio.sleep(wait)

    async def _ask_once(self, route: Route, target: Target) -> Answered[Answer]:
        deployments, asked = self._deployments, self._asked
        state = deployments.state(target.key)
        if target.max_concurrent is not None and state.open >= target.max_concurrent:
            raise _full(target)
        started = time.monotonic()
        state.open += 1
        state.asked_at = started
        try:
            answer = await self._call(target)
            is_filtered = False
            if asked.check is not None and route.fallbacks_for("content_policy"):
                answer, is_filtered = await asked.check(answer)
        except ProviderError as exc:
            state.open -= 1
            deployments.failed(route, target, exc, time.monotonic() - started)
            raise
        except BaseException:
            state.open -= 1
            raise
        seconds = time.monotonic() - started
        outcome = "content_policy" if is_filtered else "ok"
        deployments.observer.answered(route.name, target.name, outcome, seconds)
        if asked.is_tracked:
            deployments.succeeded(target, seconds, is_stream=asked.is_stream)
        answered = Answered(answer, target, deployments, self._is_judged(route))
        if is_filtered:
            self._filtered.append(answered)
            message = f"A content filter of '{target.key}' left nothing of the answer."
            raise ContentFiltered(message, status=400, body={"message": message, "code": "content_filter"})
        return answered

    def _is_judged(self, route: Route) -> bool:
        """Return whether failures count: something else could have answered, on the operator's account."""
        return self._asked.is_tracked and (route.has_choice or route is not self._asked.route)

    def _is_worth_retrying(self, route: Route, error: ProviderError) -> bool:
        """Return whether to ask the same deployment again, after the wait that its provider asks for."""
        has_fallback = bool(route.fallbacks_for(error_class(error)))
        longest = MAX_WAIT_BEFORE_FALLBACK if has_fallback else MAX_RETRY_AFTER
        return is_transient(error) and (error.retry_after or 0.0) <= longest


def _full(target: Target) -> DeploymentFull:
    message = f"'{target.key}' has {target.max_concurrent} open requests, as many as its route allows."
    body = {"message": message, "type": "requests", "code": "rate_limit_exceeded"}
    return DeploymentFull(message, status=429, body=body, retry_after=1.0)


def _wait(error: ProviderError, attempt: int) -> float:
    """Return the seconds that the provider asks for, else a delay that doubles, with jitter."""
    if error.retry_after is not None:
        return error.retry_after
    doubled: float = min(FIRST_DELAY * 2 ** (attempt - 1), MAX_DELAY)
    return doubled + random.uniform(0, FIRST_DELAY)  # noqa: S311
