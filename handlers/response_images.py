"""Generated images in what clients see: stored items have references in their place."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar

from handlers.context import Context, Stream
from inference.image_generation.generated_images import frames_with_images, with_images

Handle = TypeVar("Handle", bound=Callable[..., Awaitable[Any]])


def shows_images(handle: Handle) -> Handle:
    """Put images in place of references in what an operation answers: an item, a list, a response, events."""

    @wraps(handle)
    async def handled(context: Context, *args: Any, **kwargs: Any) -> Any:
        answer = await handle(context, *args, **kwargs)
        if isinstance(answer, Stream):
            return replace(answer, events=_events(context, answer.events))
        store, project = context.services.store, context.project
        for name in ("output", "data"):
            if isinstance(answer.get(name), list):
                return {**answer, name: await with_images(store, project, answer[name])}
        return (await with_images(store, project, [answer]))[0]

    return handled  # type: ignore[return-value]  # it takes and returns what `handle` does


async def _events(context: Context, events: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    store, project = context.services.store, context.project
    try:
        async for piece in events:
            yield await frames_with_images(store, project, piece)
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()
