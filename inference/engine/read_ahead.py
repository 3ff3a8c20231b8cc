"""Reads a provider's answer as it arrives, also while whoever takes it is busy with what came before."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing

from persistence.types import JSON

MOST = 1000
"""Chunks that wait at most."""


async def read_ahead(chunks: AsyncGenerator[JSON, None]) -> AsyncGenerator[JSON, None]:
    """The same chunks: those that had arrived when the provider broke off come before its error."""
    waiting: deque[JSON] = deque()
    arrived, taken = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        async with aclosing(chunks):
            async for chunk in chunks:
                waiting.append(chunk)
                arrived.set()
                while len(waiting) >= MOST:
                    taken.clear()
                    await taken.wait()

    def end(reading: asyncio.Task[None]) -> None:
        if not reading.cancelled():
            reading.exception()  # nobody may be left to ask
        arrived.set()

    reading = asyncio.create_task(read())
    reading.add_done_callback(end)
    try:
        while True:
            while waiting:
                taken.set()
                yield waiting.popleft()
            if reading.done():
                reading.result()
                return
            arrived.clear()
            await arrived.wait()
    finally:
        reading.cancel()
        await asyncio.wait([reading])
