"""Reads a run's events to their end: live where this process writes them, else from the log."""

import asyncio
import time
from collections.abc import AsyncIterator

from inference.runs import transitions
from inference.runs.feed import Feeds, Numbered, Reader, frame, is_done
from persistence.store import Document, Key, Store

SOON, LATER = 0.05, 0.5
"""Seconds between two looks into the log: growing from one to the other while nothing comes."""

PATIENCE = 5.0
"""Seconds without an event after which a run that rests will tell no more: its worker was lost."""


async def follow_leg(
    store: Store, feeds: Feeds, project: str, run_id: str, reader: Reader, after: int
) -> AsyncIterator[bytes]:
    """The frames of one leg, to its `done`; from the log once `reader` has no more."""
    try:
        while frames := await reader.read():
            fresh = [each for each in frames if each[0] > after]
            if fresh:
                after = fresh[-1][0]
                yield _joined(fresh)
                if is_done(fresh[-1][1]):
                    return
    finally:
        feeds.unsubscribe(project, run_id, reader)
    async for frames in _from_log(store, project, run_id, after):
        end = next((at for at, (_, each) in enumerate(frames, 1) if is_done(each)), None)
        yield _joined(frames[:end])
        if end is not None:
            return


async def replay(store: Store, project: str, run_id: str, after: int) -> AsyncIterator[bytes]:
    """The frames of all legs with numbers over `after`, and what follows, to the end of the run.

    The `done` between two legs is left out, as it would end the stream for its reader.
    """
    async for frames in _from_log(store, project, run_id, after):
        shown = [each for each in frames[:-1] if not is_done(each[1])]
        if not is_done(frames[-1][1]) or await _rests(store, project, run_id, frames[-1][0]):
            shown.append(frames[-1])
        if shown:
            yield _joined(shown)
        if shown and is_done(shown[-1][1]):
            return


async def is_kept(store: Store, project: str, run_id: str) -> bool:
    """Whether the log of that run is there from its first event on."""
    first = await store.read_log(project, run_id, limit=1)
    return bool(first) and first[0][0] == 0


async def _from_log(store: Store, project: str, run_id: str, after: int) -> AsyncIterator[list[Numbered]]:
    """What is in the log behind `after`, as it comes; the last item ends with `done` in any case."""
    pause, silent_since = SOON, time.monotonic()
    while True:
        frames = list(await store.read_log(project, run_id, after))
        if frames:
            pause, silent_since, after = SOON, time.monotonic(), frames[-1][0]
            yield frames
            continue
        document = await store.get(Key(project, "runs", run_id))
        if document is None or document.value["status"] in transitions.RESTING:
            if await store.read_log(project, run_id, after, limit=1):
                continue  # it came to rest between the two reads
            ending = await _ending(store, project, run_id, after, document)
            # An engine may show a run's last change before the events that were written with it.
            if document is None or ending[0][0] <= after or time.monotonic() - silent_since > PATIENCE:
                yield ending
                return
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, LATER)


async def _ending(
    store: Store, project: str, run_id: str, after: int, document: Document | None
) -> list[Numbered]:
    """How a stream ends whose log has no more to tell: as it ended before, or as its run did."""
    last = await store.read_log(project, run_id, after - 1, limit=1) if after >= 0 else ()
    if last and is_done(last[0][1]):
        return list(last)
    if document is None:
        message = f"No run found with id '{run_id}'."
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        ending = frame(after + 1, "error", {**error, "error": error})
    else:
        ending = frame(after + 1, f"thread.run.{document.value['status']}", document.value)
    return [(after + 1, ending), (after + 2, frame(after + 2, "done", None))]


async def _rests(store: Store, project: str, run_id: str, number: int) -> bool:
    """Whether nothing follows that event for now."""
    document = await store.get(Key(project, "runs", run_id))
    if document is not None and document.value["status"] not in transitions.RESTING:
        return False
    return not await store.read_log(project, run_id, number, limit=1)


def _joined(frames: list[Numbered]) -> bytes:
    return b"".join(each for _, each in frames)
