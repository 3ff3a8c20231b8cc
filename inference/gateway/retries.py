"""Retries and fallbacks, for every driver alike: only until the first byte has come."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_exponential_jitter

from inference.errors import ProviderError
from inference.gateway.failures import is_transient, may_fall_back
from inference.gateway.targets import Target

LONGEST_WAIT = 20.0
"""Seconds; a provider that asks for more is not waited for: the client is told how long instead."""

_BACKOFF = wait_exponential_jitter(multiplier=0.25, exp_base=2, max=8.0, jitter=0.25)

Answer = TypeVar("Answer")


async def first_answer(targets: Sequence[Target], call: Callable[[Target], Awaitable[Answer]]) -> Answer:
    """What `call` returns for the first target that answers.

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
    # Nearly every call ends here, and tenacity would cost half as much again as all the rest of it.
    try:
        return await call(target)
    except ProviderError as exc:
        if target.attempts == 1 or not _is_worth_waiting(exc):
            raise
        first = exc
    made = 0

    async def attempt() -> Answer:
        nonlocal made
        made += 1
        if made == 1:
            raise first
        return await call(target)

    retrying = AsyncRetrying(
        stop=stop_after_attempt(target.attempts),
        wait=_wait,
        retry=retry_if_exception(_is_worth_waiting),
        reraise=True,
    )
    return await retrying(attempt)


def _is_worth_waiting(error: BaseException) -> bool:
    asked = error.retry_after if isinstance(error, ProviderError) else None
    return is_transient(error) and (asked or 0.0) <= LONGEST_WAIT


def _wait(state: RetryCallState) -> float:
    """As long as the provider asks for, or exponentially longer each time, with jitter."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, ProviderError) else None
    return _BACKOFF(state) if asked is None else asked
