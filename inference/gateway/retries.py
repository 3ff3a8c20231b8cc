"""Retries and fallbacks, for all drivers, until the first byte has come."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from inference.errors import ProviderError
from inference.gateway.failures import is_transient, may_fall_back
from inference.gateway.targets import Target

LONGEST_WAIT = 20.0
"""Seconds; a provider that asks for more is not waited for; the client gets its Retry-After instead."""

FIRST_WAIT = 0.25
MOST_WAIT = 8.0

Answer = TypeVar("Answer")


async def first_answer(targets: Sequence[Target], call: Callable[[Target], Awaitable[Answer]]) -> Answer:
    """Return what `call` does for the first target that answers.

    A target is tried again where that may help, then the next one. If none answers, the error is
    the first target's: it is the one that the caller named.
    """
    errors: list[ProviderError] = []
    for target in targets:
        try:
            return await _persistent(target, call)
        except ProviderError as exc:
            errors.append(exc)
            if not may_fall_back(exc):
                break
    raise errors[0] if may_fall_back(errors[-1]) else errors[-1]


async def _persistent(target: Target, call: Callable[[Target], Awaitable[Answer]]) -> Answer:
    attempt = 1
    while True:
        try:
            return await call(target)
        except ProviderError as exc:
            if attempt >= target.attempts or not _is_worth_waiting(exc):
                raise
            wait = _wait(exc, attempt)
        attempt += 1
        await asyncio.sleep(wait)


def _is_worth_waiting(error: ProviderError) -> bool:
    return is_transient(error) and (error.retry_after or 0.0) <= LONGEST_WAIT


def _wait(error: ProviderError, attempt: int) -> float:
    """Return the seconds that the provider asks for, or twice as many each time, with jitter."""
    if error.retry_after is not None:
        return error.retry_after
    doubled: float = min(FIRST_WAIT * 2 ** (attempt - 1), MOST_WAIT)
    return doubled + random.uniform(0, FIRST_WAIT)  # noqa: S311
