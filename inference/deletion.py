"""Deletes objects: what belongs to them goes in slices, so that other writes need not wait."""

import asyncio
import contextlib
import time
from collections.abc import Sequence

from inference.jobs import Jobs
from inference.leases import Lease
from persistence.listing import pages
from persistence.store import Clear, Delete, Document, Enqueue, Finish, Job, Operation, Store

SLICE = 1000
"""Documents that one write deletes."""

PATIENCE = 2.0
"""Seconds for which a caller waits for the rest; it goes on without them."""


class Deletion:
    """Deletes objects with the lists under them.

    `kind` is that of the jobs, `lists` are the collections under an object, and `nested` names the
    collections that are lists under documents of those: {RUNS: RUN_STEPS}. Documents of the lists in
    `with_contents` name a content each, which is deleted with them.
    """

    def __init__(
        self,
        store: Store,
        jobs: Jobs,
        kind: str,
        lists: Sequence[str],
        nested: dict[str, str] | None = None,
        with_contents: Sequence[str] = (),
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._kind = kind
        self._lists = lists
        self._nested = nested or {}
        self._with_contents = with_contents
        self._ends: dict[tuple[str, str], asyncio.Event] = {}
        jobs.register(kind, self._run, concurrency=2, fair=True)

    async def delete(self, document: Document, *operations: Operation) -> None:
        """Delete an object, with these writes beside; VersionConflict if it was changed meanwhile.

        The rest follows as a job, and is gone on return unless it is very much.
        """
        project, id = document.key.project, document.id
        job = Job(project, self._kind, id, due=time.time() + self._jobs.lease, owner=self._jobs.owner)
        await self._store.write(Delete(document), *operations, Enqueue(job))
        end = self._ends[project, id] = asyncio.Event()
        self._jobs.adopt(job)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(end.wait(), PATIENCE)

    async def _run(self, lease: Lease) -> None:
        project, id = lease.job.project, lease.job.id
        try:
            for collection, under in self._nested.items():
                await self._delete_nested(project, id, collection, under)
            for collection in self._with_contents:
                await self._delete_contents(project, id, collection)
            for collection in (*self._with_contents, *self._lists):
                await clear_in_slices(self._store, project, collection, id, SLICE)
            await self._store.write(Finish(lease.job))
        finally:
            if end := self._ends.pop((project, id), None):
                end.set()

    async def _delete_nested(self, project: str, id: str, collection: str, under: str) -> None:
        """Delete the lists under an object's documents; the documents, which name them, go later."""
        async for documents in pages(self._store, project, collection, id):
            await self._store.write(*(Clear(project, under, each.id) for each in documents))

    async def _delete_contents(self, project: str, id: str, collection: str) -> None:
        """Delete the contents that a list's documents name; the documents go later."""
        async for documents in pages(self._store, project, collection, id):
            for each in documents:
                await self._store.delete_content(project, each.value["content"])


async def clear_in_slices(
    store: Store, project: str, collection: str, parent: str, size: int = SLICE
) -> None:
    """Delete the documents of a list, `size` of them with each write."""
    while (await store.page(project, collection, parent, limit=1)).documents:
        await store.write(Clear(project, collection, parent, limit=size))
