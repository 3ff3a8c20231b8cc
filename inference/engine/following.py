"""Reads a run's events to their end: live where this process writes them, else rendered from the log."""

import asyncio
import time
from collections.abc import AsyncIterator

from inference.engine.errors import EventsGone
from inference.engine.events import Event, RunCreated, decode
from inference.engine.feeds import Feeds, Numbered, Reader, frame, is_done
from inference.engine.recorder import Recorder
from inference.engine.renderer import Api
from inference.engine.statuses import SETTLED
from persistence.store import Document, Key, Store

SOON, LATER = 0.05, 0.5
"""Seconds between two looks into the log: growing from one to the other while nothing comes."""

PATIENCE = 5.0
"""Seconds without an event after which a settled run has no more to tell: its worker was lost."""


class LogReader:
    """Renders a run's log from its first event on, so that frames have the numbers they had live."""

    def __init__(self, store: Store, api: Api, run: Key) -> None:
        self._store = store
        self._api = api
        self._run = run
        self._next = 0
        self._recorder: Recorder | None = None

    async def read(self) -> list[Numbered]:
        """Return the frames of what the log has got since; EventsGone where it lacks its beginning."""
        entries = await self._store.read_log(self._run.project, self._run.id, self._next - 1)
        frames: list[Numbered] = []
        for number, line in entries:
            if number != self._next:
                raise EventsGone(self._run.id)
            self._next += 1
            frames += self._rendered(line)
        return frames

    async def has_more(self) -> bool:
        """Return whether the log has got anything since."""
        return bool(await self._store.read_log(self._run.project, self._run.id, self._next - 1, limit=1))

    @property
    def shown(self) -> int:
        """The number of the next frame."""
        return self._recorder.state.shown if self._recorder is not None else 0

    def _rendered(self, line: bytes) -> list[Numbered]:
        event = _decoded(self._run, line)
        if isinstance(event, RunCreated):
            state, renderer = self._api.replay(self._run.project, event.objects)
            self._recorder = Recorder(state, renderer)
        if self._recorder is None:
            raise EventsGone(self._run.id)
        return self._recorder.replay(event)


async def follow_attempt(
    store: Store, feeds: Feeds, api: Api, run: Key, reader: Reader, after: int
) -> AsyncIterator[bytes]:
    """Yield the frames of one attempt, to its `done`; from the log once `reader` has no more."""
    try:
        while frames := await reader.read():
            fresh = [each for each in frames if each[0] > after]
            if fresh:
                after = fresh[-1][0]
                yield _joined(fresh)
                if is_done(fresh[-1][1]):
                    return
    finally:
        feeds.unsubscribe(run.project, run.id, reader)
    async for frames in _from_log(store, api, run, after):
        end = next((at for at, (_, each) in enumerate(frames, 1) if is_done(each)), None)
        yield _joined(frames[:end])
        if end is not None:
            return


async def replay(store: Store, api: Api, run: Key, after: int) -> AsyncIterator[bytes]:
    """Yield the frames of all attempts with numbers over `after`, and what follows, to the end of the run.

    The `done` between two attempts is left out, as it would end the stream for its reader.
    """
    async for frames in _from_log(store, api, run, after):
        shown = [each for each in frames[:-1] if not is_done(each[1])]
        if not is_done(frames[-1][1]) or await _is_settled(store, run):
            shown.append(frames[-1])
        if shown:
            yield _joined(shown)
        if shown and is_done(shown[-1][1]):
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


async def _from_log(store: Store, api: Api, run: Key, after: int) -> AsyncIterator[list[Numbered]]:
    """Yield what is in the log behind `after`, as it comes; the last item ends with `done` in any case."""
    log = LogReader(store, api, run)
    pause, silent_since = SOON, time.monotonic()
    last: list[Numbered] = []
    while True:
        frames = await log.read()
        if frames:
            pause, silent_since, last = SOON, time.monotonic(), frames[-1:]
            fresh = [each for each in frames if each[0] > after]
            if fresh:
                yield fresh
            continue
        document = await store.get(run)
        if document is None or document.value["status"] in SETTLED:
            if await log.has_more():
                continue  # it settled between the two reads
            # An engine may show a run's last change before the events that were written with it.
            told = bool(last) and is_done(last[0][1])
            if document is None or told or time.monotonic() - silent_since > PATIENCE:
                yield last if told else _ending(log.shown, run, document)
                return
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, LATER)


def _ending(number: int, run: Key, document: Document | None) -> list[Numbered]:
    """Return how a stream ends whose log has no end: as its run did."""
    if document is None:
        message = f"No run found with id '{run.id}'."
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        ending = frame(number, "error", {**error, "error": error})
    else:
        ending = frame(number, f"{document.value['object']}.{document.value['status']}", document.value)
    return [(number, ending), (number + 1, frame(number + 1, "done", None))]


async def _is_settled(store: Store, run: Key) -> bool:
    """Return whether nothing follows for now."""
    document = await store.get(run)
    return document is None or document.value["status"] in SETTLED


def _joined(frames: list[Numbered]) -> bytes:
    return b"".join(each for _, each in frames)
