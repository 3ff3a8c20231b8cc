"""Vector stores: objects, expiry and deletion. Their files are in `vector_store_files`."""

import time
from collections.abc import Mapping
from typing import Any

from inference.identifiers import new_id
from inference.leases import Lease
from inference.retrieval.counts import empty_counts
from inference.retrieval.deadlines import Deadlines
from inference.retrieval.errors import expired_vector_store, no_such_vector_store
from persistence.collections import VECTOR_STORES
from persistence.retry import retry_on_conflict, update_with_retry
from persistence.store import (
    Delete,
    Document,
    Enqueue,
    Finish,
    Insert,
    Key,
    Operation,
    Replace,
    Reschedule,
    Store,
)
from persistence.types import JSON

DAY = 86_400
ACTIVE_EVERY = 60
"""Seconds between two updates of last_active_at, so that not every search costs a write."""


def has_expired(document: Document) -> bool:
    """Return whether the store has expired, even if its expire job has not run yet."""
    expires_at = document.value["expires_at"]
    return document.value["status"] == "expired" or (expires_at is not None and expires_at <= time.time())


def view(document: Document) -> JSON:
    """Return the object as the API shows it."""
    return {**document.value, "status": "expired"} if has_expired(document) else document.value


def active(value: Mapping[str, Any], now: int) -> JSON:
    """Return the object with `now` as the time of its last use."""
    expires_after = value["expires_after"]
    expires_at = now + expires_after["days"] * DAY if expires_after else None
    return {**value, "last_active_at": now, "expires_at": expires_at}


def with_status(value: Mapping[str, Any]) -> JSON:
    """Return the object with the status that follows from its counts."""
    if value["status"] == "expired":
        return dict(value)
    status = "in_progress" if value["file_counts"]["in_progress"] else "completed"
    return {**value, "status": status}


class VectorStores:
    """The vector stores of all projects.

    `state` holds the embedding model of a store (or None): all of its chunks are embedded and searched
    with that model.
    """

    def __init__(self, store: Store, deadlines: Deadlines) -> None:
        self._store = store
        self._deadlines = deadlines

    async def get(self, project: str, vector_store: str, param: str = "vector_store_id") -> Document:
        """Return the store's document; raise ObjectNotFound, naming `param`."""
        document = await self._store.get(Key(project, VECTOR_STORES, vector_store))
        if document is None:
            raise no_such_vector_store(vector_store, param)
        return document

    async def usable(self, project: str, vector_store: str, param: str = "vector_store_id") -> Document:
        """Return the store's document; raise ObjectNotFound, or RequestRefused if it has expired."""
        document = await self.get(project, vector_store, param)
        if has_expired(document):
            raise expired_vector_store(vector_store, param)
        return document

    def creation(
        self,
        project: str,
        *,
        model: str | None,
        name: str | None = None,
        description: str | None = None,
        expires_after: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> tuple[Insert, list[Operation]]:
        """Return the Insert of an empty store, and the other operations of the same write."""
        now = int(time.time())
        value: JSON = {
            "id": new_id("vs_"),
            "object": "vector_store",
            "created_at": now,
            "name": name or "",
            "description": description,
            "usage_bytes": 0,
            "file_counts": empty_counts(),
            "status": "completed",
            "expires_after": dict(expires_after) if expires_after else None,
            "metadata": dict(metadata or {}),
        }
        insert = Insert(
            Key(project, VECTOR_STORES, value["id"]), active(value, now), state={"embedding_model": model}
        )
        return insert, self._deadline(insert.key, insert.value)

    async def modify(self, project: str, vector_store: str, changes: Mapping[str, Any]) -> Document:
        """Change the name, expires_after or metadata; return the changed document."""

        async def attempt() -> Document:
            document = await self.get(project, vector_store)
            value = {**document.value, **changes}
            value["name"] = value["name"] or ""
            if "expires_after" in changes:
                value = active(value, int(time.time()))
            deadline = self._deadline(document.key, value)
            return (await self._store.write(Replace(document, value=value), *deadline))[0]

        return await retry_on_conflict(attempt)

    async def note_use(self, document: Document) -> None:
        """Update last_active_at, at most once in ACTIVE_EVERY seconds."""
        now = int(time.time())

        def change(current: Document) -> Replace | None:
            if now - current.value["last_active_at"] < ACTIVE_EVERY or has_expired(current):
                return None
            return Replace(current, value=active(current.value, now))

        if change(document) is not None:
            await update_with_retry(self._store, document.key, change)

    async def delete(self, project: str, vector_store: str) -> None:
        """Delete a store with everything in it, but not the files; raise ObjectNotFound."""

        async def attempt() -> Enqueue:
            document = await self.get(project, vector_store)
            purge = self._deadlines.purge(project, VECTOR_STORES, vector_store)
            await self._store.write(Delete(document), self._deadlines.cancel_expiry(*document.key), purge)
            return purge

        self._deadlines.run_in_background(await retry_on_conflict(attempt))

    async def expire(self, lease: Lease) -> None:
        """Run a store's expire job: delete its chunks, keep its object and the list of its files."""
        job = lease.job
        document = await self._store.get(Key(job.project, VECTOR_STORES, job.payload["id"]))
        expires_at = document.value["expires_at"] if document else None
        if document is None or expires_at is None:
            await self._deadlines.finish(lease)
        elif expires_at > time.time():
            await self._store.write(Reschedule(lease.job, expires_at))
        else:
            await update_with_retry(self._store, document.key, _expired)
            await self._store.delete_chunks(job.project, document.id)
            await self._store.write(Finish(lease.job))

    def _deadline(self, key: Key, value: JSON) -> list[Operation]:
        if value["expires_at"] is None:
            return [self._deadlines.cancel_expiry(*key)]
        return [self._deadlines.expire_at(*key, value["expires_at"])]


def _expired(store: Document) -> Replace:
    return Replace(store, value={**store.value, "status": "expired"})
