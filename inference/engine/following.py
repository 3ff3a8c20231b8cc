"""Follows a run's events to their end: live in the process that writes them, else from the log."""

import asyncio
import time
from collections.abc import AsyncIterator

from inference.engine.errors import EventsGone
from inference.engine.events import Event, RunCreated, decode
from inference.engine.feeds import Feeds, NumberedFrame, Reader
from inference.engine.recorder import Recorder
from inference.engine.renderer import Api
from inference.engine.statuses import SETTLED
from persistence.large_json import Pauses
from persistence.store import Key, Store
from persistence.types import JSON

MIN_POLL_SECONDS, MAX_POLL_SECONDS = 0.05, 0.5
"""Seconds between two reads of the log; the pause grows while there is nothing new."""

PAUSE_AFTER = 0.001
"""Seconds of reading the log after which other tasks have their turn."""

PATIENCE = 5.0
"""Seconds without an event after which the stream of a settled run ends: its worker was lost."""


class LogReader:
    """Renders a run's log from its first event on, so that frames get the same numbers as live ones."""

    def __init__(self, store: Store, api: Api, run: Key, options: JSON | None = None) -> None:
        self._store = store
        self._api = api
        self._run = run
        self._options = options or {}
        self._next = 0
        self._recorder: Recorder | None = None

    async def read(self) -> list[NumberedFrame]:
        """Return the frames of new events; EventsGone if the log lacks its beginning."""
        entries = await self._store.read_log(self._run.project, self._run.id, self._next - 1)
        frames: list[NumberedFrame] = []
        pauses = Pauses(PAUSE_AFTER)
        for number, line in entries:
            await pauses.pause_if_due()
            if number != self._next:
                raise EventsGone(self._run.id)
            self._next += 1
            frames += self._rendered(line)
        return frames

    async def has_more(self) -> bool:
        """Return whether the log has new events."""
        return bool(await self._store.read_log(self._run.project, self._run.id, self._next - 1, limit=1))

    @property
    def shown(self) -> int:
        """The number of the next frame."""
        return self._recorder.state.shown if self._recorder is not None else 0

    def _rendered(self, line: bytes) -> list[NumberedFrame]:
        event = _decoded(self._run, line)
        if isinstance(event, RunCreated):
            state, renderer = self._api.replay(self._run.project, event.objects | self._options)
            self._recorder = Recorder(state, renderer)
        if self._recorder is None:
            raise EventsGone(self._run.id)
        return self._recorder.replay(event)


async def follow_attempt(
    store: Store, feeds: Feeds, api: Api, run: Key, reader: Reader, after: int
) -> AsyncIterator[bytes]:
    """Yield the frames of one attempt up to its `done`; from the log once `reader` is closed."""
    try:
        while frames := await reader.read():
            fresh = [each for each in frames if each.number > after]
            if fresh:
                after = fresh[-1].number
                yield _joined(fresh)
                if fresh[-1].ends:
                    return
    finally:
        feeds.unsubscribe(run.project, run.id, reader)
    async for frames in _from_log(store, api, run, after):
        end = next((at for at, each in enumerate(frames, 1) if each.ends), None)
        yield _joined(frames[:end])
        if end is not None:
            return


async def replay(
    store: Store, api: Api, run: Key, after: int, options: JSON | None = None
) -> AsyncIterator[bytes]:
    """Yield the frames of all attempts with numbers over `after`, until the run ends.

    A `done` between two attempts is left out: it would end the stream for its reader.
    """
    async for frames in _from_log(store, api, run, after, options):
        shown = [each for each in frames[:-1] if not each.ends]
        if not frames[-1].ends or await _is_settled(store, run):
            shown.append(frames[-1])
        if shown:
            yield _joined(shown)
        if shown and shown[-1].ends:
            return


async def check_kept(store: Store, run: Key) -> None:
    """Raise EventsGone unless the log of a run is there from its first event on."""
    first = await store.read_log(run.project, run.id, limit=1)
    if not first or first[0][0] != 0:
        raise EventsGone(run.id)
    _decoded(run, first[0][1])


def _decoded(run: Key, line: bytes) -> Event:
    try:
        return decode(line)
    except ValueError as exc:
        raise EventsGone(run.id) from exc


async def _from_log(
    store: Store, api: Api, run: Key, after: int, options: JSON | None = None
) -> AsyncIterator[list[NumberedFrame]]:
    """Yield the frames of the log after number `after`, also new ones; the last item ends with `done`."""
    log = LogReader(store, api, run, options)
    pause, silent_since = MIN_POLL_SECONDS, time.monotonic()
    last: list[NumberedFrame] = []
    while True:
        frames = await log.read()
        if frames:
            pause, silent_since, last = MIN_POLL_SECONDS, time.monotonic(), frames[-1:]
            fresh = [each for each in frames if each.number > after]
            if fresh:
                yield fresh
            continue
        document = await store.get(run)
        if document is None or document.value["status"] in SETTLED:
            if await log.has_more():
                continue  # the run settled between the two reads
            # An engine may show a run's last change before the events that were written with it.
            has_ended = bool(last) and last[0].ends
            if document is None or has_ended or time.monotonic() - silent_since > PATIENCE:
                if not has_ended:
                    yield api.ending(log.shown, run, document)
                elif api.ends_with_mark:
                    yield last
                return
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, MAX_POLL_SECONDS)


async def _is_settled(store: Store, run: Key) -> bool:
    """Return whether the run has ended or waits for its caller."""
    document = await store.get(run)
    return document is None or document.value["status"] in SETTLED


def _joined(frames: list[NumberedFrame]) -> bytes:
    return b"".join(each.data for each in frames)
