"""Contents of requests: each is deleted after a while unless an object claims it.

A worker that is killed between the last byte and the object that names it leaves a content that
nobody would find. So a job that deletes it is enqueued while it arrives, and cancelled in the write
that creates the object.
"""

import time
from collections.abc import AsyncIterator

from inference.leases import Lease
from inference.retrieval.deadlines import Deadlines
from persistence.collections import CONTENTS
from persistence.store import Cancel, Enqueue, Finish, Store

CLAIM_SECONDS = 6 * 3600
"""Seconds after which a content that nothing claims is deleted: longer than any upload takes."""


def delete_unclaimed(project: str, content: str, due: float) -> Enqueue:
    """Return the operation that lets a content be deleted at `due`, unless it is claimed."""
    return Deadlines.expire_at(project, CONTENTS, content, due)


async def write_unclaimed(
    store: Store, project: str, pieces: AsyncIterator[bytes], *, id: str, seconds: float = CLAIM_SECONDS
) -> int:
    """Store a content that is deleted after some seconds unless it is claimed; return its size."""
    await store.write(delete_unclaimed(project, id, time.time() + seconds))
    return await store.write_content(project, id, pieces)


def claim(project: str, content: str) -> Cancel:
    """Return the operation that keeps a content; it belongs into the write of the object that names it."""
    return Deadlines.cancel_expiry(project, CONTENTS, content)


async def discard(store: Store, project: str, content: str) -> None:
    """Delete a content that no object will name."""
    await store.delete_content(project, content)
    await store.write(claim(project, content))


class UnclaimedContents:
    """Deletes contents whose time to be claimed is over."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def expire(self, lease: Lease) -> None:
        """Run the expire job of a content."""
        await self._store.delete_content(lease.job.project, lease.job.payload["id"])
        await self._store.write(Finish(lease.job))
