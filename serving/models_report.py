"""What `astrolabe models` prints: the routes, and what their deployments answer to a test."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import click

from inference.errors import InferenceError
from inference.gateway import Gateway, Routes
from inference.gateway.routing.cooldowns import Cooldown, stored_cooldowns
from inference.gateway.routing.routes import Route
from inference.gateway.routing.targets import Target
from persistence.engines import open_store
from persistence.errors import StoreError, StoreRefused
from persistence.types import JSON
from serving.settings import Settings

LIVE_SECONDS = 30.0
"""Seconds in which a deployment must answer a test."""

CONCURRENCY = 8
"""Deployments that are tested at the same time."""

STORE_SECONDS = 5.0
"""Seconds to wait for a store that is asked for cooldowns only."""


def counts(routes: Routes) -> str:
    """Return how many names, deployments and providers there are, in words."""
    targets = [target for route in routes.routes.values() for target in route.targets]
    providers = {target.provider for target in targets}
    numbers = ((len(routes.routes), "name"), (len(targets), "deployment"), (len(providers), "provider"))
    return ", ".join(_count(number, noun) for number, noun in numbers)


def listed(routes: Routes, settings: Settings) -> Iterator[str]:
    """Yield the lines of all routes, with the cooldowns in the store."""
    cooldowns = asyncio.run(_cooldowns(settings)) if routes.have_choices else {}
    for route in routes.routes.values():
        yield from _described(route, cooldowns, is_default=route.name == routes.embedding_model)


async def _cooldowns(settings: Settings) -> Mapping[str, Cooldown]:
    """Return the cooldowns in the store; none if it is not there."""
    if settings.opens_store_per_token:
        return {}
    store = open_store(settings.store)
    try:
        async with asyncio.timeout(STORE_SECONDS):
            await store.open()
            return await stored_cooldowns(store)
    except StoreRefused:
        return {}  # the server has not made it yet
    except (StoreError, OSError, TimeoutError) as exc:
        click.echo(f"Cooldowns are not known: {exc or 'the store does not answer'}", err=True)
        return {}
    finally:
        await store.close()


def _described(route: Route, cooldowns: Mapping[str, Cooldown], *, is_default: bool) -> Iterator[str]:
    has_several = len(route.targets) > 1
    shares = [f", weight {target.weight:g}" if has_several else "" for target in route.targets]
    pairs = zip(route.targets, shares, strict=True)
    targets = " or ".join(f"{target.model} at {target.provider}{share}" for target, share in pairs)
    notes = [route.kind + (" of vector stores" if is_default else "")]
    if has_several:
        notes.append(route.strategy)
    yield f"{route.name:<32} {targets} ({', '.join(notes)})"
    for error_class, names in route.fallbacks.items():
        kind = "" if error_class == "default" else f" after {error_class}"
        yield f"{'':<32} falls back{kind} to {', then '.join(names)}"
    for target in route.targets:
        known = cooldowns.get(target.key)
        if known is not None:
            left = max(1, round(known.until - time.time()))
            yield f"{'':<32} {target.key} cools down for {left} s ({known.error_class})"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of the test of one deployment."""

    name: str
    deployment: str
    is_ok: bool
    message: str
    seconds: float | None = None

    def line(self) -> str:
        """Return the line of the table."""
        seconds = "" if self.seconds is None else f"{self.seconds:.2f} s"
        verdict = "ok" if self.is_ok else "FAILED"
        return f"{self.name:<32} {self.deployment:<40} {verdict:<7} {seconds:>8}  {self.message}".rstrip()


async def tested(routes: Routes) -> list[Result]:
    """Send each deployment one small request, and return what came of it."""
    slots = asyncio.Semaphore(CONCURRENCY)

    async def one(route: Route, target: Target) -> Result:
        async with slots:
            return await _test(route, target)

    pairs = [(route, target) for route in routes.routes.values() for target in route.targets]
    return await asyncio.gather(*(one(route, target) for route, target in pairs))


async def _test(route: Route, target: Target) -> Result:
    """Send a deployment one small request, once."""
    if target.wire == "local":
        return Result(route.name, target.key, True, "not tested: the local models run with the server")
    if target.wire == "litellm" and "*" in target.model:
        return Result(route.name, target.key, True, "not tested: a pattern names no model")
    alone = replace(
        target,
        attempts=1,
        max_concurrent=None,
        first_byte_timeout=min(target.first_byte_timeout or LIVE_SECONDS, LIVE_SECONDS),
        total_timeout=min(target.total_timeout or LIVE_SECONDS, LIVE_SECONDS),
        drops_unsupported=True,
    )
    only = replace(route, targets=(alone,), fallbacks={})
    gateway = Gateway(Routes({route.name: only}))
    await gateway.open()
    started = time.monotonic()
    try:
        message = await _ask(gateway, only)
    except InferenceError as exc:
        return Result(route.name, target.key, False, str(exc), time.monotonic() - started)
    finally:
        await gateway.close()
    return Result(route.name, target.key, True, message, time.monotonic() - started)


async def _ask(gateway: Gateway, route: Route) -> str:
    if route.is_pattern and "*" in route.targets[0].model:
        return f"lists {_count(len(await gateway.provider_models(route)), 'model')} for this pattern"
    name = route.name.replace("*", "test")
    if route.kind == "embedding":
        answer = await gateway.embed({"model": name, "input": "ping", "encoding_format": "float"})
        return f"{_count(len(answer['data'][0]['embedding']), 'dimension')}"
    request: JSON = {"model": name, "max_tokens": 1, "messages": [{"role": "user", "content": "ping"}]}
    answer = await gateway.complete(request)
    return f"answered as {answer['model']}" if answer.get("model") else "answered"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
