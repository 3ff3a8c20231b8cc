"""Runs the calls of the server's tools."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

from inference.engine.events import Event, ItemFinished, ItemProgress
from inference.engine.items import CALLER_ANSWERS, Call
from inference.engine.state import RunState
from inference.engine.tools import Emit, Toolbox, ToolResult


def calls_left(state: RunState, most: int | None) -> int | None:
    """Return how many calls of the server's tools a run may still make; None without a limit."""
    if most is None:
        return None
    calls = [call for turn in state.turns for call in turn.calls if call.type not in CALLER_ANSWERS]
    return max(0, most - sum(call.output is not None for call in calls))


NOT_MADE = {
    "code": "max_tool_calls",
    "message": "This call was not made: it is one more than max_tool_calls.",
}
"""The error of a call that the request does not allow any more."""


async def run_calls(calls: Sequence[Call], tools: Toolbox, most: int | None = None) -> AsyncIterator[Event]:
    """Run the calls of the server's tools concurrently; yield their progress, then their results in order.

    Those after the first `most` are not made.
    """
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
    made = calls if most is None else calls[:most]
    tasks = [asyncio.create_task(run(call)) for call in made]
    running = asyncio.gather(*tasks)
    running.add_done_callback(lambda _: progress.put_nowait(None))
    try:
        while (event := await progress.get()) is not None:
            yield event
        results: list[ToolResult] = await running
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(running, *tasks, return_exceptions=True)  # tools end what they have begun
    results += [ToolResult(NOT_MADE["message"], call.details, NOT_MADE) for call in calls[len(made) :]]
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
