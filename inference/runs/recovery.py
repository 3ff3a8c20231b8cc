"""Takes a run up from the store: after its worker was lost, or when another leg of it is due."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import orjson

from inference.gateway import Credentials
from inference.jobs import Held
from inference.runs.feed import Feeds
from inference.runs.ledger import Ledger, Tracked, TrackedThread
from inference.runs.rendering import Renderer, new_step
from inference.runs.said import Said
from inference.runs.state import (
    ACTIVE_RUN,
    FENCE,
    LAST,
    LIVE,
    SEQUENCE,
    STEP,
    TURN,
    TURNS,
    run_label,
    turn_of,
)
from persistence.store import Delete, Document, Hold, Key, Replace, Store, beside

JSON = dict[str, Any]

Told = AbstractSet[tuple[str, str]]
"""Names of events in the log, with the ids of their objects."""


@dataclass(slots=True)
class Leg:
    """One stretch of a run: from when a worker gets it to when it rests or ends."""

    ledger: Ledger
    renderer: Renderer
    credentials: Credentials | None = None

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
    ledger = Ledger(store, feeds, held, Tracked.of(run), TrackedThread.of(thread), run.state[SEQUENCE])
    renderer = Renderer(ledger, live=run.state[LIVE])
    return Leg(ledger, renderer, credentials)


async def recover(store: Store, feeds: Feeds, held: Held) -> Leg | None:
    """The leg of a held job, as the store has it; None if the run or its thread was deleted."""
    project, run_id = held.job.project, held.job.id
    run = await store.get(Key(project, "runs", run_id))
    thread = await _fenced(store, run, held) if run is not None else None
    if run is None or thread is None:
        return None
    leg = make_leg(store, feeds, held, run, thread)
    messages = await store.page(project, "messages", run.parent, label=run_label(run_id), limit=2)
    newest = next(iter(await _fresh(store, messages.documents)), None)
    steps = await _fresh(store, (await store.page(project, "run_steps", run_id, limit=2)).documents)
    steps = [step for step in steps if step.value["status"] == "in_progress"]
    ids = {step.id for step in steps}
    if newest is not None:
        ids |= {newest.id, newest.state[STEP]}
    said, told = await _read_log(store, leg, ids)
    if newest is not None and _is_ahead(newest, run):
        await _catch_up(store, leg, newest, said, told)
        return leg
    opened = [newest] if newest is not None and newest.value["status"] == "in_progress" else []
    untold = [each for each in (*opened, *steps) if not _is_told(each, told, run)]
    for each in untold:
        if each.document is not None:
            await store.write(Hold(held.job), Delete(each.document))
    message = next((each for each in opened if each not in untold), None)
    still_open = [each for each in steps if each not in untold]
    leg.renderer.resume(message, still_open, said if message is not None else Said())
    return leg


async def _fenced(store: Store, run: Document, held: Held) -> Document | None:
    """The run's thread, to which from now on no earlier holder of the job can add a message."""

    def fence(thread: Document) -> Replace | None:
        if store.transactional or thread.state.get(ACTIVE_RUN) != run.id:
            return None
        return Replace(thread, state={**thread.state, FENCE: held.job.token})

    return await store.update(Key(run.key.project, "threads", run.parent), fence)


def _is_ahead(message: Tracked, run: Document) -> bool:
    """Whether a message has ended of which the run does not know yet.

    An engine that cannot write to several partitions at once can lose its worker in between; the
    message is written first, and its state says what belongs to it.
    """
    if run.value["status"] != "in_progress" or message.value["status"] == "in_progress":
        return False
    turn = message.state.get(TURN)
    return bool(message.state.get(LAST)) or (turn is not None and turn[STEP] not in _named(run))


async def _catch_up(store: Store, leg: Leg, message: Tracked, said: Said, told: Told) -> None:
    """Do what was not done of the write that ended the message."""
    creation = {"type": "message_creation", "message_creation": {"message_id": message.id}}
    step = await _step(store, leg.run, message.state[STEP], creation)
    leg.renderer.resume_whole(message, step, said, told)
    if message.state[LAST]:
        leg.renderer.rest(message.state[LAST])
        return
    noted = message.state[TURN]
    step = await _step(store, leg.run, noted[STEP], {"type": "tool_calls", "tool_calls": []})
    leg.renderer.resume_turn(turn_of(noted), step, told)


async def _step(store: Store, run: Tracked, step_id: str, details: JSON) -> Tracked:
    """A step as it is stored, or new where it is not."""
    step = await store.get(Key(run.key.project, "run_steps", beside(run.key.id, step_id)))
    return new_step(run, step_id, details) if step is None else Tracked.of(step)


def _named(run: Document) -> set[str]:
    return {turn[STEP] for turn in run.state[TURNS]}


def _is_told(each: Tracked, told: Told, run: Document) -> bool:
    """Whether anybody can know of an object: its event is in the log, or the run's state names it."""
    kind = "thread.message" if each.key.collection == "messages" else "thread.run.step"
    return (f"{kind}.created", each.id) in told or each.id in _named(run)


async def _fresh(store: Store, listed: Sequence[Document]) -> list[Tracked]:
    """Listed objects as they are: in a list, an engine may still show one as it was, or that is gone."""
    read = [await store.get(document.key) for document in listed]
    return [Tracked.of(document) for document in read if document is not None]


async def _read_log(store: Store, leg: Leg, ids: AbstractSet[str]) -> tuple[Said, Told]:
    """Bring the leg's next number to the log's end.

    What was shown of the message among `ids`, and the events that were told of any of them.
    """
    said = Said()
    told: set[tuple[str, str]] = set()
    project, run_id = leg.run.key.project, leg.run.key.id
    while entries := await store.read_log(project, run_id, leg.ledger.sequence - 1):
        for number, frame in entries:
            leg.ledger.skip_to(number + 1)
            event, _, data = frame.partition(b"\nevent: ")[2].partition(b"\ndata: ")
            value = orjson.loads(data) if event != b"done" else {}
            if value.get("id") in ids:
                told.add((event.decode(), value["id"]))
            if event == b"thread.message.delta" and value["id"] in ids:
                for part in value["delta"]["content"]:
                    said.read_delta(part)
    return said, told
