"""Optimistic concurrency: read, change, write, and retry if another writer was faster."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar
from weakref import WeakValueDictionary

from persistence.errors import Conflict, VersionConflict
from persistence.store import Delete, Document, Key, Replace, Store

Result = TypeVar("Result")

IMMEDIATE_RETRIES = 3
MAX_DELAY = 0.1
"""Seconds between two attempts after the immediate ones, at most."""

_locks: WeakValueDictionary[tuple[int, Key], asyncio.Lock] = WeakValueDictionary()


async def retry_on_conflict(
    attempt: Callable[[], Awaitable[Result]],
    conflicts: type[Conflict] | tuple[type[Conflict], ...] = VersionConflict,
) -> Result:
    """Call `attempt` until it raises none of `conflicts`; return its result.

    `attempt` reads, changes and writes. It may run many times, so keep other side effects out of it:
    create helper objects before, start background work after.
    """
    attempts = 0
    while True:
        try:
            return await attempt()
        except conflicts:
            attempts += 1
        if attempts > IMMEDIATE_RETRIES:
            await asyncio.sleep(random.uniform(0, MAX_DELAY))  # noqa: S311 - jitter needs no secrecy


async def retry_from(
    document: Document,
    read: Callable[[], Awaitable[Document]],
    attempt: Callable[[Document], Awaitable[Result]],
    conflicts: type[Conflict] | tuple[type[Conflict], ...] = VersionConflict,
) -> Result:
    """Call `attempt` with a document as it was read, and after each of `conflicts` with a fresh one."""
    known: Document | None = document

    async def with_newest() -> Result:
        nonlocal known
        newest, known = known or await read(), None
        return await attempt(newest)

    return await retry_on_conflict(with_newest, conflicts)


async def update_with_retry(
    store: Store, key: Key, change: Callable[[Document], Replace | Delete | None]
) -> Document | None:
    """Change a document and return it as it is then; None if it does not exist or was deleted.

    `change` gets the current document and may return None to leave it as it is. Updates of one document
    within a process wait for each other, so that only other processes cause conflicts.
    """

    async def attempt() -> Document | None:
        document = await store.get(key)
        if document is None:
            return None
        operation = change(document)
        if operation is None:
            return document
        written = await store.write(operation)
        return written[0] if written else None

    lock = _locks.setdefault((id(store), key), asyncio.Lock())
    async with lock:
        return await retry_on_conflict(attempt)
