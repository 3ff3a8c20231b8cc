"""Runs as handlers use them: start, cancel, hand in outputs, follow."""

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from inference.gateway import Credentials, Gateway
from inference.identifiers import new_id
from inference.jobs import Held, Jobs
from inference.runs import objects, transitions
from inference.runs.errors import (
    EventsGone,
    OutputsNotAwaited,
    OutputsRefused,
    RunGone,
    ThreadBusy,
)
from inference.runs.feed import Feeds, Reader, frame
from inference.runs.following import follow_leg, is_kept, replay
from inference.runs.recovery import Leg, make_leg
from inference.runs.rendering import calls_details
from inference.runs.state import (
    ACTIVE_RUN,
    INCLUDE_RESULTS,
    LIVE,
    OPTIONS,
    RESOURCES,
    SEQUENCE,
    STEP,
    TURNS,
    turns_of,
)
from inference.runs.tools import ToolFactories
from inference.runs.worker import Worker
from persistence.errors import VersionConflict
from persistence.store import (
    LOG_LIFETIME,
    Cancel,
    Clear,
    Document,
    Enqueue,
    Insert,
    Job,
    Key,
    Operation,
    Replace,
    Store,
    beside,
)

JSON = dict[str, Any]

KIND = "run"
CONCURRENCY = 1000
"""Runs at once in one process: they wait for providers, so memory is the bound."""

THREADS, RUNS, STEPS = "threads", "runs", "run_steps"


@dataclass(frozen=True, slots=True)
class Launch:
    """A run that a caller asks for: by which assistant, with what, and whether it is streamed."""

    assistant: JSON
    request: JSON
    options: JSON
    resources: tuple[JSON, JSON]
    stream: bool = False
    credentials: Credentials | None = None
    include_results: bool = False
    """Whether events show the content of what file_search finds."""


@dataclass(frozen=True, slots=True)
class Started:
    """A run that goes on: its object as of now, and its events where it is streamed."""

    run: JSON
    events: AsyncIterator[bytes] | None


class Runs:
    """The runs of one process, and the way to all others.

    `tools` are the server's own, by type; a run with a tool that is neither a function nor among
    them fails and says so. `lifetime` is in seconds; so is `log_lifetime`, of a run's events.
    """

    def __init__(
        self,
        store: Store,
        gateway: Gateway,
        jobs: Jobs,
        tools: ToolFactories | None = None,
        *,
        lifetime: float = objects.LIFETIME,
        log_lifetime: float = LOG_LIFETIME,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._lifetime = lifetime
        self._feeds = Feeds(log_lifetime)
        self._worker = Worker(store, gateway, self._feeds, tools or {})
        self._at_hand: dict[int, tuple[Document, Document, Credentials | None]] = {}
        jobs.register(KIND, self._work, concurrency=CONCURRENCY)

    # --- starting ---

    async def start(self, thread: Document, launch: Launch, messages: Sequence[Insert] = ()) -> Started:
        """Start a run in a thread as it was read, with messages added before it.

        ThreadBusy, RunGone if the thread is deleted meanwhile.
        """
        while True:
            await self._check_free(thread)
            try:
                return await self._start(Replace, thread, launch, messages)
            except VersionConflict:
                fresh = await self._store.get(thread.key)
                if fresh is None:
                    raise RunGone(f"No thread found with id '{thread.id}'.") from None
                thread = fresh

    async def start_with_thread(
        self, thread: Insert, launch: Launch, messages: Sequence[Insert] = ()
    ) -> Started:
        """Make a thread with its messages, and start a run in it, all at once."""
        document = Document(thread.key, thread.value, thread.state)
        return await self._start(Insert, document, launch, messages)

    async def _start(
        self, how: type[Insert] | type[Replace], thread: Document, launch: Launch, messages: Sequence[Insert]
    ) -> Started:
        run_id, now = new_id("run_"), int(time.time())
        run = objects.run_object(
            run_id, thread.id, launch.assistant, launch.request, now=now, lifetime=self._lifetime
        )
        key = Key(thread.key.project, RUNS, run_id)
        job = self._own_job(key)
        told: list[tuple[str, JSON]] = [("thread.run.created", run), ("thread.run.queued", run)]
        begun = _begun(run, told, job)
        busy = {**thread.state, ACTIVE_RUN: run_id}
        hold: Operation = Replace(thread, state=busy)
        if how is Insert:
            told.insert(0, ("thread.created", thread.value))
            hold = Insert(thread.key, thread.value, busy, parent=thread.parent)
        state = {
            LIVE: launch.stream,
            SEQUENCE: len(told),
            TURNS: [],
            OPTIONS: launch.options,
            RESOURCES: list(launch.resources),
            INCLUDE_RESULTS: launch.include_results,
        }
        operations = [hold, *messages, Insert(key, begun, state, parent=thread.id)]
        handing = _Handing(job, key, operations, 0, told, run, launch.stream, launch.credentials)
        return await self._hand_on(handing)

    async def _check_free(self, thread: Document) -> None:
        """ThreadBusy if a run of the thread is active; one that has ended cannot hold it."""
        active = await self.active_run(thread)
        if active is not None:
            raise ThreadBusy(thread.id, active)

    async def active_run(self, thread: Document) -> str | None:
        """The id of the thread's active run. Costs a read only where the thread names one."""
        run_id = thread.state.get(ACTIVE_RUN)
        if run_id is None:
            return None
        run = await self._store.get(Key(thread.key.project, RUNS, run_id))
        return None if run is None or run.value["status"] in transitions.ENDED else run_id

    # --- going on ---

    async def submit(
        self,
        run: Document,
        outputs: Sequence[tuple[str, str]],
        *,
        stream: bool,
        credentials: Credentials | None = None,
    ) -> Started:
        """Hand in the outputs that a run waits for, all at once, as (call id, output).

        OutputsNotAwaited, OutputsRefused, RunGone.
        """
        while True:
            thread = await self._store.get(Key(run.key.project, THREADS, run.parent))
            if thread is None:
                raise RunGone(f"No thread found with id '{run.parent}'.")
            handing = await self._answered(run, outputs, stream=stream)
            handing.thread, handing.credentials = thread, credentials
            try:
                return await self._hand_on(handing)
            except VersionConflict:
                run = await self._reread(run)

    async def _answered(
        self, run: Document, outputs: Sequence[tuple[str, str]], *, stream: bool
    ) -> "_Handing":
        """The run with its last turn's calls answered, queued again."""
        if run.value["status"] != "requires_action":
            raise OutputsNotAwaited(run.value["status"])
        turn = turns_of(run.state)[-1]
        waiting = [call for call in turn.calls if call.output is None]
        given = [call_id for call_id, _ in outputs]
        if sorted(given) != sorted(call.id for call in waiting):
            raise OutputsRefused([call.id for call in waiting], given)
        answers = dict(outputs)
        for call in waiting:
            call.output = answers[call.id]
        now = int(time.time())
        value = transitions.move(run.value, "queued", now)
        last = {**turn.to_json(), STEP: run.state[TURNS][-1][STEP]}
        told: list[tuple[str, JSON]] = []
        operations: list[Operation] = []
        step = await self._store.get(Key(run.key.project, STEPS, beside(run.id, last[STEP])))
        if step is not None:
            answered = {**step.value, "step_details": calls_details(turn)}
            usage = objects.usage_object(turn.usage.prompt, turn.usage.completion)
            closed = objects.closed_step(answered, "completed", now=now, usage=usage)
            told.append(("thread.run.step.completed", closed))
            operations.append(Replace(step, value=closed))
        told.append(("thread.run.queued", value))
        job, first = self._own_job(run.key), run.state[SEQUENCE]
        begun = _begun(value, told, job)
        state = {
            **run.state,
            LIVE: stream,
            TURNS: [*run.state[TURNS][:-1], last],
            SEQUENCE: first + len(told),
        }
        # The run last, right ahead of its job: an engine by partitions changes these two together.
        operations.append(Replace(run, value=begun, state=state))
        return _Handing(job, run.key, operations, first, told, value, stream)

    async def cancel(self, run: Document) -> JSON:
        """Begin to cancel a run; IllegalTransition where it has ended, RunGone.

        The job is taken from whoever has it, so that nothing more is written or shown of the run
        but its end, which this process brings about.
        """
        while True:
            value = transitions.move(run.value, "cancelling", int(time.time()))
            job = self._own_job(run.key)
            try:
                await self._store.write(Replace(run, value=value), Enqueue(job))
            except VersionConflict:
                run = await self._reread(run)
            else:
                self._adopt(job)
                return value

    @staticmethod
    def abandon(thread: Document) -> list[Operation]:
        """What to write with the deletion of a thread, so that its active run ends with it."""
        project, run_id = thread.key.project, thread.state.get(ACTIVE_RUN)
        if run_id is None:
            return []
        return [Cancel(project, KIND, run_id), Clear(project, STEPS, run_id)]

    # --- following ---

    async def replay(self, run: Document, after: int) -> AsyncIterator[bytes]:
        """The run's events with numbers over `after`, then those to come; EventsGone."""
        project = run.key.project
        if run.value["status"] in transitions.RESTING and not await is_kept(self._store, project, run.id):
            raise EventsGone(f"The events of run {run.id} are no longer kept.")
        return replay(self._store, project, run.id, after)

    # --- handing on ---

    async def _hand_on(self, handing: "_Handing") -> Started:
        """Write what starts a leg of a run, with the job of it, and go on with it here."""
        key, first, job = handing.key, handing.first, handing.job
        project, run_id = key.project, key.id
        frames = [frame(number, *each) for number, each in enumerate(handing.told, first)]
        reader = self._feeds.subscribe(project, run_id) if handing.stream else None
        try:
            documents = await self._store.write(
                *handing.operations, Enqueue(job), self._feeds.segment(project, run_id, first, frames)
            )
        except BaseException:
            if reader is not None:
                self._feeds.unsubscribe(project, run_id, reader)
            raise
        self._feeds.publish(project, run_id, list(enumerate(frames, first)))
        run = next(each for each in documents if each.key == key)
        thread = handing.thread or documents[0]
        if job.owner:
            self._at_hand[job.token] = (run, thread, handing.credentials)
        self._adopt(job)
        events = self._events(key, reader, first - 1) if reader is not None else None
        return Started(handing.run, events)

    def _events(self, key: Key, reader: Reader, after: int) -> AsyncIterator[bytes]:
        return follow_leg(self._store, self._feeds, key.project, key.id, reader, after)

    def _own_job(self, key: Key) -> Job:
        """A job held by this process, or by nobody where it has enough to do."""
        now = time.time()
        if not self._jobs.has_room(KIND):
            return Job(key.project, KIND, key.id, due=now)
        return Job(key.project, KIND, key.id, due=now + self._jobs.lease, owner=self._jobs.owner)

    def _adopt(self, job: Job) -> None:
        if job.owner:
            self._jobs.adopt(job)

    async def _work(self, held: Held) -> None:
        project, run_id = held.job.project, held.job.id
        at_hand = self._at_hand.pop(held.job.token, None)
        leg: Leg | None = None
        if at_hand is not None:
            run, thread, credentials = at_hand
            leg = make_leg(self._store, self._feeds, held, run, thread, credentials)
        try:
            await self._worker.work(held, leg)
        finally:
            self._feeds.close(project, run_id)

    async def _reread(self, run: Document) -> Document:
        fresh = await self._store.get(run.key)
        if fresh is None:
            raise RunGone(f"No run found with id '{run.id}'.")
        return fresh


@dataclass(slots=True)
class _Handing:
    """What starts a leg of a run: the writes, and the events from number `first` on.

    `run` is the run as its caller is answered: queued.
    """

    job: Job
    key: Key
    operations: list[Operation]
    first: int
    told: list[tuple[str, JSON]]
    run: JSON
    stream: bool
    credentials: Credentials | None = None
    thread: Document | None = None


def _begun(run: JSON, told: list[tuple[str, JSON]], job: Job) -> JSON:
    """A queued run as it is stored: in progress, and told so, where this process goes on with it at once."""
    if not job.owner:
        return run
    begun = transitions.move(run, "in_progress", int(time.time()))
    told.append(("thread.run.in_progress", begun))
    return begun
