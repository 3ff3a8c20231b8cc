"""The runs of one process as an API's handlers use them: start, submit outputs, cancel, follow."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from inference.engine.attempt import BROKEN, RequestWatch, RunAttempt
from inference.engine.errors import OutputsNotAwaited, OutputsRefused, RunGone
from inference.engine.events import Event, OutputsSubmitted, RunCreated, RunMoved
from inference.engine.feeds import Feeds
from inference.engine.following import check_kept, follow_attempt, replay
from inference.engine.kept_settings import kept_settings, with_kept_settings
from inference.engine.opening import submitted_output
from inference.engine.recorder import Recorder
from inference.engine.recovery import recover, recover_settled
from inference.engine.renderer import Api
from inference.engine.starts import RunStart, Started
from inference.engine.state import History, RunState
from inference.engine.statuses import SETTLED
from inference.engine.tools import ToolTypes
from inference.engine.unit_of_work import UnitOfWork
from inference.engine.unstored import UnstoredWork
from inference.gateway import CallerSettings, Gateway
from inference.jobs import Jobs
from inference.leases import Lease
from inference.limits import MAX_ANSWER
from inference.sealing import CALLER, Sealer
from persistence.retry import retry_from
from persistence.store import (
    LOG_LIFETIME,
    Document,
    Enqueue,
    Finish,
    Insert,
    Job,
    Key,
    Operation,
    Replace,
    Store,
)
from persistence.types import JSON

WORKERS_LOST = {
    "code": "server_error",
    "message": "The run was given up: the server's worker was lost each time it ran it.",
}

CONCURRENCY = 2000
"""Runs at once in one process, of which a project alone takes half: they wait for providers, so memory is
the bound."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What an attempt needs, for a run that this process has just written."""

    run: Document
    conversation: Document | None
    recorder: Recorder
    caller: CallerSettings | None
    history: History | None
    watch: RequestWatch | None


@dataclass(slots=True)
class _AttemptStart:
    """The writes that begin an attempt; its events are in `recorder`."""

    key: Key
    job: Job
    recorder: Recorder
    operations: list[Operation] = field(default_factory=list)
    conversation: Document | None = None
    caller: CallerSettings | None = None
    history: History | None = None
    follows: bool = False
    watch: RequestWatch | None = None


class Engine:
    """Starts, continues, cancels and follows the runs of one API.

    `tools` are the server's own, by type; a run with any other tool than these and functions fails and says
    so. `log_lifetime` is how long a run's events are kept, in seconds, `max_answer` the most
    bytes of one answer.
    """

    def __init__(
        self,
        store: Store,
        gateway: Gateway,
        jobs: Jobs,
        api: Api,
        tools: ToolTypes | None = None,
        *,
        log_lifetime: float = LOG_LIFETIME,
        max_answer: int = MAX_ANSWER,
        sealer: Sealer | None = None,
    ) -> None:
        self._max_answer = max_answer
        self._sealer = sealer or Sealer()
        self._store, self._gateway = store, gateway
        self._jobs = jobs
        self._api = api
        self._tools = tools or {}
        self._feeds = Feeds(log_lifetime)
        self._prepared: dict[int, _Prepared] = {}
        jobs.register(api.kind, self._run_job, concurrency=CONCURRENCY, give_up=self._give_up, fair=True)

    # --- what handlers call ---

    async def start(self, start: RunStart) -> Started:
        """Write a run and start it; VersionConflict if its conversation was changed since it was read."""
        key = start.key
        recorder = Recorder(start.state, self._api.renderer(key.project, start.run, start.state))
        attempt_start = _AttemptStart(
            key,
            self._own_job(key),
            recorder,
            caller=start.caller,
            history=start.history,
            follows=start.follows or start.state.live,
            watch=start.watch,
        )
        recorder.record(RunCreated(start.objects))
        answered = self._queue(attempt_start)
        run = Insert(key, recorder.renderer.run, start.state.to_json(), parent=start.parent)
        busy = [start.conversation] if start.conversation is not None else []
        attempt_start.operations = [*busy, *start.operations, run]
        return await self._begin(attempt_start, answered)

    async def submit(
        self,
        run: Document,
        outputs: Sequence[tuple[str, str]],
        *,
        stream: bool,
        caller: CallerSettings | None = None,
    ) -> Started:
        """Submit the outputs of all calls that a run waits for, as (call id, output), and continue the run.

        OutputsNotAwaited, OutputsRefused, ApprovalUnreadable, RunGone.
        """

        async def attempt(run: Document) -> Started:
            key = self._api.conversation(run)
            conversation = await self._store.get(key) if key is not None else None
            if conversation is None:
                raise RunGone(f"No thread found with id '{run.parent}'.")
            attempt_start = await self._submitted(run, outputs, stream=stream, caller=caller)
            attempt_start.conversation = conversation
            answered = self._queue(attempt_start)
            recorder = attempt_start.recorder
            # The run is last, next to its job: Cassandra changes these two in one transaction.
            change = Replace(run, value=recorder.renderer.run, state=recorder.state.to_json())
            attempt_start.operations.append(change)
            return await self._begin(attempt_start, answered)

        return await retry_from(run, partial(self._read, run.key), attempt)

    async def cancel(self, run: Document) -> JSON:
        """Begin to cancel a run; IllegalTransition if it has ended, RunGone.

        This process takes the job over, so its former owner can write nothing more, and ends the run.
        """

        async def attempt(run: Document) -> tuple[JSON, Job]:
            value = self._api.move(run.value, "cancelling", int(time.time()))
            job = self._own_job(run.key)
            change = Replace(run, value=value, state={**run.state, "status": "cancelling"})
            await self._store.write(change, Enqueue(job))
            return value, job

        value, job = await retry_from(run, partial(self._read, run.key), attempt)
        self._adopt(job)
        return value

    async def replay(self, run: Document, after: int, options: JSON | None = None) -> AsyncIterator[bytes]:
        """Return the run's events with numbers over `after`, then those to come; EventsGone.

        `options` go to the renderer, over the objects of the log's first event.
        """
        if run.value["status"] in SETTLED:
            await check_kept(self._store, run.key)
        return replay(self._store, self._api, run.key, after, options)

    async def run_unstored(
        self, start: RunStart, on_end: Callable[[JSON], Awaitable[None]]
    ) -> AsyncGenerator[bytes, None]:
        """Run without the store and yield the events; closing it cancels the run.

        `on_end` is awaited with the run's object before the last event is yielded.
        """
        recorder = Recorder(start.state, self._api.renderer(start.key.project, start.run, start.state))
        run = Document(start.key, start.run, start.state.to_json(), parent=start.parent)
        work = UnstoredWork(run, recorder)
        now = int(time.time())
        for event in (RunCreated(start.objects), RunMoved("queued", now), RunMoved("in_progress", now)):
            work.record(event)
        attempt = RunAttempt(
            self._gateway,
            self._tools,
            self._api,
            work,
            lambda: start.caller,
            self._max_answer,
            start.history,
            start.watch,
        )
        task = asyncio.create_task(attempt.run())
        task.add_done_callback(lambda _: work.close())
        try:
            while frames := await work.read():
                if frames[-1].ends:
                    await on_end(recorder.renderer.run)
                yield b"".join(frame.data for frame in frames)
            await task
        finally:
            task.cancel()

    # --- beginning an attempt ---

    async def _submitted(
        self,
        run: Document,
        outputs: Sequence[tuple[str, str]],
        *,
        stream: bool,
        caller: CallerSettings | None,
    ) -> _AttemptStart:
        """Return the start of an attempt in which the pending calls have their outputs."""
        if run.value["status"] != "requires_action":
            raise OutputsNotAwaited(run.value["status"])
        state = RunState.from_json(run.state)
        caller = with_kept_settings(self._sealer, run.key.project, state, caller)
        given, expected = [call_id for call_id, _ in outputs], [call.call_id for call in state.pending]
        if sorted(given) != sorted(expected):
            raise OutputsRefused(expected, given)
        state.live = stream
        recorder = Recorder(state, self._api.renderer(run.key.project, run.value, state))
        documents: dict[Key, Document] = {}
        for key, change in recorder.renderer.open_objects.items():
            document = await self._store.get(key)
            if document is not None:
                change.value, documents[key] = document.value, document
        submitted = dict(outputs)
        submitted |= {call.call_id: submitted_output(call, submitted[call.call_id]) for call in state.pending}
        event: Event = OutputsSubmitted(submitted, int(time.time()))
        recorder.record(event)
        changes = [
            Replace(documents[key], value=change.value)
            for key, change in recorder.renderer.changes.items()
            if key in documents
        ]
        job = self._own_job(run.key)
        return _AttemptStart(run.key, job, recorder, [*changes], caller=caller, follows=stream)

    def _queue(self, attempt_start: _AttemptStart) -> JSON:
        """Queue the run and return the object that its caller gets.

        A run that this process starts at once is stored as in progress.
        """
        now, recorder = int(time.time()), attempt_start.recorder
        recorder.record(RunMoved("queued", now))
        answered = recorder.renderer.run
        if attempt_start.job.owner:
            recorder.record(RunMoved("in_progress", now))
        return answered

    async def _begin(self, attempt_start: _AttemptStart, answered: JSON) -> Started:
        """Write the start of an attempt with its job, and run the job here if there is room."""
        project, run_id = attempt_start.key.project, attempt_start.key.id
        recorder, job = attempt_start.recorder, self._with_settings(attempt_start)
        batch = recorder.take()
        log = self._feeds.append(project, run_id, batch.first, batch.lines)
        documents = await self._store.write(*attempt_start.operations, Enqueue(job), log)
        reader = self._feeds.subscribe(project, run_id) if attempt_start.follows else None
        self._feeds.publish(project, run_id, batch.frames)
        run = next(each for each in documents if each.key == attempt_start.key)
        conversation = attempt_start.conversation
        conversation_key = self._api.conversation(run)
        if conversation is None:
            conversation = next((each for each in documents if each.key == conversation_key), None)
        if job.owner:
            self._prepared[job.token] = _Prepared(
                run,
                conversation,
                recorder,
                attempt_start.caller,
                attempt_start.history,
                attempt_start.watch,
            )
        else:  # another process may run it: the log has the events
            if reader is not None:
                reader.close()
            if attempt_start.watch is not None:
                attempt_start.watch.is_silent.set()
        self._adopt(job)
        if reader is None:
            return Started(answered, None)
        after = batch.frames[0].number - 1
        return Started(
            answered, follow_attempt(self._store, self._feeds, self._api, attempt_start.key, reader, after)
        )

    def _with_settings(self, attempt_start: _AttemptStart) -> Job:
        """Return the job with its caller's settings sealed; SettingsNotKept if that cannot be.

        Without a secret, a run that its caller waits for has them in this process's memory alone.
        """
        job, caller = attempt_start.job, attempt_start.caller
        if caller is None:
            return job
        if attempt_start.follows and job.owner and not self._sealer.can_seal:
            return replace(job, payload={**job.payload, CALLER: ""})
        return replace(job, payload={**job.payload, **self._sealer.seal(job.project, caller)})

    def _own_job(self, key: Key) -> Job:
        """Return a job held by this process, or a free one if this process has no room for it."""
        now = time.time()
        if not self._jobs.has_room(self._api.kind, key.project):
            return Job(key.project, self._api.kind, key.id, due=now)
        return Job(key.project, self._api.kind, key.id, due=now + self._jobs.lease, owner=self._jobs.owner)

    def _adopt(self, job: Job) -> None:
        if job.owner:
            self._jobs.adopt(job)

    # --- a run's job ---

    async def _run_job(self, lease: Lease) -> None:
        prepared = self._prepared.pop(lease.job.token, None)

        def open_caller() -> CallerSettings | None:
            if prepared is not None:
                return prepared.caller
            return self._sealer.open(lease.job.project, lease.job.payload)

        try:
            if prepared is not None:
                run, conversation, recorder = prepared.run, prepared.conversation, prepared.recorder
                work = UnitOfWork(self._store, self._feeds, self._api, lease, run, conversation, recorder)
            else:
                recovered = await recover(self._store, self._feeds, self._api, lease)
                if recovered is None:
                    await self._store.write(Finish(lease.job))
                    return
                work = recovered
            attempt = RunAttempt(
                self._gateway,
                self._tools,
                self._api,
                work,
                open_caller,
                self._max_answer,
                prepared.history if prepared is not None else None,
                prepared.watch if prepared is not None else None,
                keep=partial(kept_settings, self._sealer, lease.job.project),
            )
            try:
                await attempt.run()
            except RunGone:
                await work.abandon()
        finally:
            self._feeds.close(lease.job.project, lease.job.id)

    async def _give_up(self, lease: Lease) -> None:
        """Fail a run that no attempt can end, so that its conversation is free."""
        recovered = await recover_settled(self._store, self._feeds, self._api, lease)
        if recovered is not None:
            lost = lease.job.takeovers > self._jobs.max_takeovers
            recovered.record(RunMoved("failed", int(time.time()), WORKERS_LOST if lost else BROKEN))
            run = recovered.recorder.renderer.run
            await recovered.flush(Finish(lease.job), *self._api.after_end(lease.job.project, run))
        else:
            await self._store.write(Finish(lease.job))

    async def _read(self, key: Key) -> Document:
        run = await self._store.get(key)
        if run is None:
            raise RunGone(f"No run found with id '{key.id}'.")
        return run
