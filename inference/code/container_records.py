"""The documents of containers: reading them, noting their use, and changing their files.

The private state of a container has its files ("files", "copied") and the worker that has its sandbox
("kernel"), or None.
"""

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from inference.code.container_files import NewFile, file_changes
from inference.code.errors import ContainerExpired, ContainerNotFound
from persistence.collections import CONTAINERS
from persistence.retry import retry_on_conflict, update_with_retry
from persistence.store import Document, Key, Replace, Store
from persistence.types import JSON

MINUTE = 60

UPDATES = 20
"""Updates of last_active_at, at most, within the time after which a container expires."""


def expires_at(value: JSON) -> float:
    """Return when a container expires unless it is used, in seconds since the epoch."""
    return float(value["last_active_at"] + value["expires_after"]["minutes"] * MINUTE)


def has_expired(document: Document) -> bool:
    """Return whether a container has expired, even if its expire job has not run yet."""
    return document.value["status"] == "expired" or expires_at(document.value) <= time.time()


def view(document: Document) -> JSON:
    """Return the object as the API shows it."""
    return {**document.value, "status": "expired"} if has_expired(document) else document.value


class ContainerRecords:
    """The documents of the containers of all projects."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, project: str, container: str, param: str = "container_id") -> Document:
        """Return a container's document, which may have expired; raise ContainerNotFound."""
        document = await self._store.get(Key(project, CONTAINERS, container))
        if document is None:
            raise ContainerNotFound(container, param)
        return document

    async def usable(self, project: str, container: str, param: str | None = None) -> Document:
        """Return a container's document; raise ContainerNotFound or ContainerExpired."""
        document = await self.get(project, container, param or "container_id")
        if has_expired(document):
            raise ContainerExpired(param)
        return document

    async def use(self, project: str, container: str, *, even_late: bool = False) -> Document:
        """Return a usable container's document with the time of this use, which is not always written.

        `even_late` is for a container in which code runs: it expires only by its job.
        """
        document = await self.get(project, container)
        if document.value["status"] == "expired" or (has_expired(document) and not even_late):
            raise ContainerExpired
        if _is_noted(document):
            return document

        def change(current: Document) -> Replace | None:
            if current.value["status"] == "expired" or _is_noted(current):
                return None
            return Replace(current, value=_used(current.value))

        used = await update_with_retry(self._store, document.key, change)
        if used is None:
            raise ContainerNotFound(container)
        return used

    async def change_files(
        self,
        project: str,
        container: str,
        added: Sequence[NewFile] = (),
        deleted: Mapping[str, str] = MappingProxyType({}),
        *,
        even_late: bool = False,
    ) -> tuple[Document, list[JSON]]:
        """Add files, whose contents are stored, and delete others; return the container and the added files.

        `deleted` are contents by path: what was replaced meanwhile stays. Raises ContainerFileRefused if the
        files do not fit; then nothing is changed.
        """

        async def attempt() -> tuple[Document, list[JSON]]:
            document = await self.get(project, container)
            if document.value["status"] == "expired" or (has_expired(document) and not even_late):
                raise ContainerExpired
            state, operations, shown = await file_changes(self._store, document, added, deleted)
            replace = Replace(document, value=_used(document.value), state=state)
            return (await self._store.write(replace, *operations))[0], shown

        return await retry_on_conflict(attempt)


def _used(value: JSON) -> JSON:
    return {**value, "last_active_at": int(time.time())}


def _is_noted(document: Document) -> bool:
    """Whether the last use is so recent that this one need not be written."""
    value = document.value
    noted_until = value["last_active_at"] + (expires_at(value) - value["last_active_at"]) / UPDATES
    return bool(time.time() < noted_until)
