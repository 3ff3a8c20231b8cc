"""WebSockets of the Responses API: the memory of those that are open between two responses."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack

from websockets.asyncio.client import ClientConnection, connect

from bench.figures import Figure, at_most
from bench.load import BenchFailed
from bench.measuring import MEGABYTE, memory
from bench.responses import ASKED, RESPONSES
from bench.rig import Rig

AT_ONCE = 20
"""Connections that are opened, and get a response, at the same time."""


def open_websockets(rig: Rig) -> Iterator[Figure]:
    """Measure the memory of a process with a thousand open WebSockets, each of which got a response."""
    count = rig.scaled(1000)
    with rig.provider() as provider, rig.server("websockets-server", provider) as server:
        (worker,) = server.workers()
        held = asyncio.run(memory_with_open(f"ws://127.0.0.1:{server.port}{RESPONSES}", worker, count))
    yield Figure(f"a worker with {count:,} open WebSockets, RSS", held / MEGABYTE, "MB", bar=at_most(150))


async def memory_with_open(url: str, worker: int, count: int) -> int:
    """Return a worker's memory while that many WebSockets wait for their next message, in bytes."""
    async with AsyncExitStack() as stack:
        opened: list[ClientConnection] = []
        while len(opened) < count:
            opening = (stack.enter_async_context(connect(url)) for _ in range(AT_ONCE))
            opened += await asyncio.gather(*opening)
            await asyncio.gather(*(turn(one) for one in opened[-AT_ONCE:]))
        return memory(worker).rss


async def turn(client: ClientConnection) -> None:
    """Ask for a response and wait for its end."""
    await client.send(json.dumps({"type": "response.create", "store": False, **ASKED}))
    async for message in client:
        event = json.loads(message)["type"]
        if event == "response.completed":
            return
        if event in ("error", "response.failed"):
            raise BenchFailed(f"a response over a WebSocket failed: {message!r}")
