"""Rebuilds a run from the store, after its worker was lost or when its job is due again."""

from inference.engine.events import Event, ItemFinished, ItemStarted, decode
from inference.engine.feeds import Feeds
from inference.engine.recorder import Recorder
from inference.engine.renderer import WRITTEN_AHEAD, Api
from inference.engine.state import ACTIVE_RUN, FENCE, RunState
from inference.engine.statuses import ENDED
from inference.engine.unit_of_work import UnitOfWork
from inference.leases import Lease
from persistence.retry import update_with_retry
from persistence.store import Delete, Document, Hold, Key, Replace, Store


async def recover(store: Store, feeds: Feeds, api: Api, lease: Lease) -> UnitOfWork | None:
    """Return the run of a job, rebuilt from its log; None if the run or its conversation was deleted."""
    project, run_id = lease.job.project, lease.job.id
    run = await store.get(Key(project, api.runs, run_id))
    if run is None:
        return None
    conversation = await _fenced(store, api, run, lease)
    if conversation is None and not api.outlives_conversation:
        return None
    state = RunState.from_json(run.state)
    recorder = Recorder(state, api.renderer(project, run.value, state))
    while entries := await store.read_log(project, run_id, state.sequence - 1):
        for _, line in entries:
            recorder.replay(decode(line))
    work = UnitOfWork(store, feeds, api, lease, run, conversation, recorder)
    ahead = await api.newest_output(run)
    await track_open_objects(store, work)
    if ahead is not None:
        await _catch_up(store, api, work, ahead)
    return work


async def recover_settled(store: Store, feeds: Feeds, api: Api, lease: Lease) -> UnitOfWork | None:
    """Return a run without reading its log's events, to end it; None if it was deleted or has ended."""
    project, run_id = lease.job.project, lease.job.id
    run = await store.get(Key(project, api.runs, run_id))
    if run is None or run.value["status"] in ENDED:
        return None
    conversation = await _fenced(store, api, run, lease)
    if conversation is None and not api.outlives_conversation:
        return None
    state = RunState(run.value["status"], shown=run.state.get("shown", 0), extra=run.state.get("extra", {}))
    while entries := await store.read_log(project, run_id, state.sequence - 1):
        state.sequence = entries[-1][0] + 1
    recorder = Recorder(state, api.renderer(project, run.value, state))
    return UnitOfWork(store, feeds, api, lease, run, conversation, recorder)


async def track_open_objects(store: Store, work: UnitOfWork) -> None:
    """Read the open objects, so that the next write replaces them."""
    for key, change in work.recorder.renderer.open_objects.items():
        document = await store.get(key)
        if document is not None:
            change.value = document.value
            work.track(change, document)


async def _fenced(store: Store, api: Api, run: Document, lease: Lease) -> Document | None:
    """Return the run's conversation, fenced so that no earlier owner of the run can add an item to it."""

    def fence(conversation: Document) -> Replace | None:
        if store.atomic_writes or conversation.state.get(ACTIVE_RUN) != run.id:
            return None
        return Replace(conversation, state={**conversation.state, FENCE: lease.job.token})

    key = api.conversation(run)
    if key is None:
        return None
    if api.outlives_conversation:  # its items are written after the part that the lease guards
        return await store.get(key)
    return await update_with_retry(store, key, fence)


async def _catch_up(store: Store, api: Api, work: UnitOfWork, ahead: Document) -> None:
    """Complete a write of which a lost worker stored only the first part, the object `ahead`.

    This happens on an engine without transactions over several partitions.
    """
    state = work.recorder.state
    noted = ahead.state.get(WRITTEN_AHEAD)
    if noted is None:
        if ahead.value["status"] == "in_progress" and ahead.key not in work.recorder.renderer.open_objects:
            # No client has seen it.
            await store.write(Hold(work.lease.job), Delete(ahead))
        return
    if noted["first"] < state.sequence:
        return
    events = [decode(line.encode()) for line in noted["events"]]
    if state.status != "in_progress":  # cancelled meanwhile: complete only the items
        events = [event for event in events if isinstance(event, ItemStarted | ItemFinished)]
    for event in events:
        _record(api, work, event, ahead)
    await work.flush()


def _record(api: Api, work: UnitOfWork, event: Event, ahead: Document) -> None:
    state = work.recorder.state
    if isinstance(event, ItemFinished) and event.id == ahead.value["id"]:
        delta = api.missing_delta(ahead, state)
        if delta is not None:
            work.record(delta)
    work.record(event)
    change = work.recorder.renderer.changes.get(ahead.key)
    if change is not None:
        work.track(change, ahead)
