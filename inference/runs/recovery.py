"""Takes a run up from the store: after its worker was lost, or when another leg of it is due."""

from dataclasses import dataclass

import orjson

from astrolabe_server.inference.gateway import Credentials
from astrolabe_server.inference.jobs import Held
from astrolabe_server.inference.runs.feed import Feeds
from astrolabe_server.inference.runs.ledger import SEQUENCE, Ledger, Tracked, TrackedThread
from astrolabe_server.inference.runs.rendering import (
    LAST,
    LIVE,
    Renderer,
    Said,
    run_label,
)
from astrolabe_server.persistence.store import Document, Key, Store

DELTA = b"event: thread.message.delta\n"


@dataclass(slots=True)
class Leg:
    """One stretch of a run: from when a worker gets it to when it rests or ends."""

    ledger: Ledger
    renderer: Renderer
    credentials: Credentials | None = None
    ended_as: str | None = None
    """The status that the run's last message gives it, where only the run was not yet moved."""

    @property
    def run(self) -> Tracked:
        """The run."""
        return self.ledger.run


def make_leg(
    store: Store,
    feeds: Feeds,
    held: Held,
    run: Document,
    thread: Document,
    credentials: Credentials | None = None,
) -> Leg:
    """A leg of a run whose documents are at hand, with nothing open."""
    ledger = Ledger(store, feeds, held, Tracked.of(run), run.state[SEQUENCE])
    renderer = Renderer(ledger, TrackedThread.of(thread), live=run.state[LIVE])
    return Leg(ledger, renderer, credentials)


async def recover(store: Store, feeds: Feeds, held: Held) -> Leg | None:
    """The leg of a held job, as the store has it; None if the run or its thread was deleted."""
    project, run_id = held.job.project, held.job.id
    run = await store.get(Key(project, "runs", run_id))
    thread = await store.get(Key(project, "threads", run.parent)) if run is not None else None
    if run is None or thread is None:
        return None
    leg = make_leg(store, feeds, held, run, thread)
    message, last = await _messages(store, run)
    steps = await _open_steps(store, run)
    said = await _read_log(store, leg, message.id if message is not None else None)
    leg.renderer.resume(Tracked.of(message) if message is not None else None, steps, said)
    if last is not None:
        leg.renderer.resume_whole(last)
        leg.ended_as = last.value["status"]
    return leg


async def _messages(store: Store, run: Document) -> tuple[Document | None, Document | None]:
    """The run's open message, and the whole one with which it ends; at most one of them is there."""
    page = await store.page(run.key.project, "messages", run.parent, label=run_label(run.id), limit=1)
    newest = page.documents[0] if page.documents else None
    if newest is None:
        return None, None
    if newest.value["status"] == "in_progress":
        return newest, None
    return None, newest if newest.state.get(LAST) else None


async def _open_steps(store: Store, run: Document) -> list[Tracked]:
    """The run's steps in progress: of the newest turn, so one of each type at most."""
    page = await store.page(run.key.project, "run_steps", run.id, limit=2)
    return [Tracked.of(step) for step in page.documents if step.value["status"] == "in_progress"]


async def _read_log(store: Store, leg: Leg, message_id: str | None) -> Said:
    """Bring the leg's next number to the log's end, and read what was shown of the open message."""
    said = Said()
    project, run_id = leg.run.key.project, leg.run.key.id
    while entries := await store.read_log(project, run_id, leg.ledger.sequence - 1):
        for number, frame in entries:
            leg.ledger.skip_to(number + 1)
            if message_id is not None and DELTA in frame:
                delta = orjson.loads(frame.partition(b"\ndata: ")[2])
                if delta["id"] == message_id:
                    for part in delta["delta"]["content"]:
                        said.read_delta(part)
    return said
