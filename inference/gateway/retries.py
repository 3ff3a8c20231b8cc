"""Retries and fallbacks, until the first byte of an answer."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from inference.errors import ProviderError
from inference.gateway.failures import is_transient, may_fall_back
from inference.gateway.targets import Target

MAX_RETRY_AFTER = 20.0
"""Seconds; if a provider asks for a longer wait, the client gets its Retry-After instead."""

FIRST_DELAY = 0.25
MAX_DELAY = 8.0

Answer = TypeVar("Answer")


async def first_answer(targets: Sequence[Target], call: Callable[[Target], Awaitable[Answer]]) -> Answer:
    """Return the answer of the first target that gives one.

    A target is retried if that may help, then the next one is asked. If none answers, the error is that
    of the first target, which the caller named.
    """
    errors: list[ProviderError] = []
    for target in targets:
        try:
            return await _with_retries(target, call)
        except ProviderError as exc:
            errors.append(exc)
            if not may_fall_back(exc):
                break
    raise errors[0] if may_fall_back(errors[-1]) else errors[-1]


async def _with_retries(target: Target, call: Callable[[Target], Awaitable[Answer]]) -> Answer:
    attempt = 1
    while True:
        try:
            return await call(target)
        except ProviderError as exc:
            if attempt >= target.attempts or not _is_worth_retrying(exc):
                raise
            wait = _wait(exc, attempt)
        attempt += 1
        await asyncio.sleep(wait)


def _is_worth_retrying(error: ProviderError) -> bool:
    return is_transient(error) and (error.retry_after or 0.0) <= MAX_RETRY_AFTER


def _wait(error: ProviderError, attempt: int) -> float:
    """Return the seconds that the provider asks for, else a delay that doubles, with jitter."""
    if error.retry_after is not None:
        return error.retry_after
    doubled: float = min(FIRST_DELAY * 2 ** (attempt - 1), MAX_DELAY)
    return doubled + random.uniform(0, FIRST_DELAY)  # noqa: S311
