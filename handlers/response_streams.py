"""Events of responses as they are answered: whole, with an error's status, cancelled with their client."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import orjson

from handlers.context import Context
from handlers.errors import ApiError, BadRequest, ServerError, TooManyRequests, map_error
from inference.errors import InferenceError
from inference.responses.event_frames import ENDS
from inference.responses.responses import ResponseRequest
from persistence.errors import StoreError
from persistence.types import JSON

EVENT, DATA, FAILED = b"event: ", b"\ndata: ", b"event: response.failed\n"

_running: set[asyncio.Task[Any]] = set()
"""Cancellations under way: the loop itself keeps only weak references."""


async def until_end(
    context: Context, request: ResponseRequest, events: AsyncIterator[bytes]
) -> AsyncGenerator[bytes, None]:
    """Yield the events; a response in the foreground is cancelled if its client leaves before its end."""
    last = b""
    try:
        async for piece in events:
            last = piece
            yield piece
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()
        in_foreground = request.is_stored and not request.body.get("background")
        if in_foreground and not _ends(last):
            task = asyncio.create_task(_cancel(context, request.id))
            _running.add(task)
            task.add_done_callback(_running.discard)


async def _cancel(context: Context, id: str) -> None:
    services = context.services
    if services.jobs.is_stopping:  # another worker continues it
        return
    # If it has ended or is gone there is nothing to do; else its lease runs out, and it ends by itself.
    with contextlib.suppress(InferenceError, StoreError):
        await services.responses.engine.cancel(await services.responses.find(context.project, id))


async def begun(events: AsyncGenerator[bytes, None], request: ResponseRequest) -> AsyncGenerator[bytes, None]:
    """Return the events once the model has begun; a provider that refuses soon is an error with a status.

    SDKs try again by the status. A slow provider is not waited for.
    """
    first = await anext(events)
    following = asyncio.ensure_future(anext(events, b""))
    silence = asyncio.create_task(request.watch.is_silent.wait())
    try:
        await asyncio.wait({following, silence}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await events.aclose()
        raise
    finally:
        silence.cancel()
    if following.done() and not following.exception() and following.result().startswith(FAILED):
        response: JSON = _event_at_end(following.result())["response"]
        if not response["output"]:
            await events.aclose()
            raise _failure(response["error"], request)
    return _joined(first, following, events)


async def _joined(
    first: bytes, following: asyncio.Future[bytes], events: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    try:
        yield first
        yield await following
        async for piece in events:
            yield piece
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await events.aclose()


async def whole_response(events: AsyncGenerator[bytes, None], request: ResponseRequest) -> JSON:
    """Return the response at the end of its events; one that failed is an error."""
    last = b""
    async for piece in events:
        last = piece
    if not _ends(last):
        raise ServerError("The response's events ended before it did.")
    response: JSON = _event_at_end(last)["response"]
    if response["status"] == "failed":
        raise _failure(response["error"], request)
    return response


def _event_at_end(piece: bytes) -> JSON:
    event: JSON = orjson.loads(piece[piece.rfind(DATA) + len(DATA) :])
    return event


def _ends(piece: bytes) -> bool:
    """Return whether a piece of a stream has its last event."""
    name = piece[piece.rfind(EVENT) + len(EVENT) :].partition(b"\n")[0]
    return name.decode() in ENDS


def _failure(error: JSON, request: ResponseRequest) -> ApiError:
    """Return a failed response as the error of its request: the provider's own, where this process ran it."""
    failure = request.watch.failure
    cause = None if failure is None else map_error(failure)
    if cause is not None:
        return cause
    match error["code"]:
        case "rate_limit_exceeded" | "insufficient_quota" as code:
            return TooManyRequests(error["message"], code=code)
        case "server_error":
            return ServerError(error["message"], code="server_error")
        case _:
            return BadRequest(error["message"], code=error["code"])
