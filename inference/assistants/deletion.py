"""Deletes threads: what is in them goes in slices, so that other writes need not wait."""

import asyncio
import contextlib
import time

from inference.assistants.api import AssistantsApi
from inference.engine.state import ACTIVE_RUN
from inference.jobs import Jobs
from inference.leases import Lease
from persistence.collections import MESSAGES, RUN_STEPS, RUNS
from persistence.store import Cancel, Clear, Delete, Document, Enqueue, Finish, Job, Operation, Store

KIND = "thread_deletion"

SLICE = 1000
"""Documents that one write deletes."""

PAGE = 100
"""Runs whose steps one write deletes."""

PATIENCE = 2.0
"""Seconds for which a caller waits for the rest; it goes on without them."""


class ThreadDeletion:
    """Deletes threads with their messages, runs and steps."""

    def __init__(self, store: Store, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs
        self._ends: dict[tuple[str, str], asyncio.Event] = {}
        jobs.register(KIND, self._run, concurrency=2, fair=True)

    async def delete(self, thread: Document) -> None:
        """Delete a thread and end its active run; VersionConflict if it was changed meanwhile.

        The rest follows as a job, and is gone on return unless the thread is very large.
        """
        project, id = thread.key.project, thread.id
        job = Job(project, KIND, id, due=time.time() + self._jobs.lease, owner=self._jobs.owner)
        await self._store.write(Delete(thread), *_abandon(thread), Enqueue(job))
        end = self._ends[project, id] = asyncio.Event()
        self._jobs.adopt(job)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(end.wait(), PATIENCE)

    async def _run(self, lease: Lease) -> None:
        project, thread = lease.job.project, lease.job.id
        try:
            await self._delete_steps(project, thread)
            for collection in (RUNS, MESSAGES):
                while (await self._store.page(project, collection, thread, limit=1)).documents:
                    await self._store.write(Clear(project, collection, thread, limit=SLICE))
            await self._store.write(Finish(lease.job))
        finally:
            if end := self._ends.pop((project, thread), None):
                end.set()

    async def _delete_steps(self, project: str, thread: str) -> None:
        """Delete the run steps; the runs, by which they are found, are deleted later."""
        after, more = None, True
        while more:
            page = await self._store.page(project, RUNS, thread, after=after, limit=PAGE, order="asc")
            if page.documents:
                await self._store.write(*(Clear(project, RUN_STEPS, run.id) for run in page.documents))
                after = page.documents[-1].id
            more = page.has_more


def _abandon(thread: Document) -> list[Operation]:
    """Return the writes that end the thread's active run."""
    project, run_id = thread.key.project, thread.state.get(ACTIVE_RUN)
    if run_id is None:
        return []
    return [Cancel(project, AssistantsApi.kind, run_id), Clear(project, RUN_STEPS, run_id)]
