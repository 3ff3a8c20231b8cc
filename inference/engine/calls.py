"""Runs the calls of the server's tools."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

from inference.engine.events import Event, ItemFinished, ItemProgress
from inference.engine.items import Call
from inference.engine.tools import Emit, Toolbox, ToolResult


async def run_calls(calls: Sequence[Call], tools: Toolbox) -> AsyncIterator[Event]:
    """Run the calls of the server's tools concurrently; yield their progress, then their results in order."""
    progress: asyncio.Queue[Event | None] = asyncio.Queue()

    def emitter(call: Call) -> Emit:
        return lambda phase, data: progress.put_nowait(ItemProgress(call.id, phase, data))

    async def run(call: Call) -> ToolResult:
        tool = tools.find(call.name)
        if tool is None:
            raise LookupError(call.name)
        return await tool.run(call, emitter(call))

    calls = [call for call in calls if not call.is_pending and call.output is None]
    if not calls:
        return
    tasks = [asyncio.create_task(run(call)) for call in calls]
    running = asyncio.gather(*tasks)
    running.add_done_callback(lambda _: progress.put_nowait(None))
    try:
        while (event := await progress.get()) is not None:
            yield event
        results = await running
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(running, *tasks, return_exceptions=True)  # tools end what they have begun
    for call, result in zip(calls, results, strict=True):
        status = "completed" if result.error is None else "failed"
        yield ItemFinished(
            call.id,
            status,
            int(time.time()),
            result.output,
            result.details,
            error=result.error,
            images=result.images,
        )
