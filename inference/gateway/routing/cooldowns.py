"""Deployments that are left alone for a while, known to all workers through the store."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import structlog

from inference.gateway.routing.routes import ErrorClass
from persistence.collections import COOLDOWNS, SYSTEM
from persistence.errors import AlreadyExists, StoreError, VersionConflict
from persistence.retry import retry_on_conflict
from persistence.store import Insert, Key, Replace, Store
from persistence.types import JSON

KEY = Key(SYSTEM, COOLDOWNS, "deployments")
"""One small document has them all, so that a worker reads them at once."""

MOST = 256
"""Cooldowns that are kept; further ones replace those that end first."""

LONGEST_KEY = 256
"""Characters of a deployment's key; one with more, of a pattern, does not cool down."""

REFRESH_SECONDS = 2.0
"""Seconds between two looks at what other workers have stored."""

SAME = 2.0
"""Seconds by which two ends of a cooldown may differ without being written again."""

log = structlog.get_logger("astrolabe.routing")


class Cooldown(NamedTuple):
    """Until when a deployment is left alone, in seconds since the epoch, and after which class of error."""

    until: float
    error_class: ErrorClass


class Cooldowns:
    """The cooldowns that this worker knows, with its own ones ahead of the store's.

    Looking one up asks nobody. A new one is written at once, beside the request; the others' are read every
    REFRESH_SECONDS. Without a store they are this worker's alone.
    """

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self._known: dict[str, Cooldown] = {}
        self._unwritten: dict[str, Cooldown | None] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._failed = False

    def open(self, is_needed: Callable[[], bool]) -> None:
        """Begin to read what others have stored, whenever `is_needed` says that a route has a choice."""
        if self._store is not None:
            self._refreshing = asyncio.create_task(self._refresh_often(is_needed))

    async def close(self) -> None:
        """Stop reading, and finish what is being written."""
        if self._refreshing is not None:
            self._refreshing.cancel()
        if self._writing is not None:
            await self._writing

    def of(self, key: str) -> Cooldown | None:
        """Return the cooldown of a deployment; None if it may be asked."""
        if not self._known:
            return None
        known = self._known.get(key)
        return known if known is not None and known.until > time.time() else None

    def all(self) -> Mapping[str, Cooldown]:
        """Return the cooldowns that have not ended, by the keys of their deployments."""
        now = time.time()
        return {key: known for key, known in self._known.items() if known.until > now}

    def start(self, key: str, seconds: float, error_class: ErrorClass) -> None:
        """Leave a deployment alone for that long."""
        if len(key) <= LONGEST_KEY:
            self._known[key] = self._unwritten[key] = Cooldown(time.time() + seconds, error_class)
            self._write_soon()

    def lift(self, key: str) -> None:
        """End a cooldown: the deployment answers again, or has been changed."""
        if self._known.pop(key, None) is not None:
            self._unwritten[key] = None
            self._write_soon()

    async def refresh(self) -> None:
        """Read what all workers have stored, and write again what could not be written."""
        if self._store is None:
            return
        try:
            document = await self._store.get(KEY)
        except StoreError as exc:
            self._note_failure(exc)
            return
        self._failed = False
        self._adopt({} if document is None else _decoded(document.state))
        if self._unwritten:
            self._write_soon()

    async def written(self) -> None:
        """Wait until what has changed here is in the store."""
        while self._writing is not None:
            await self._writing

    async def _refresh_often(self, is_needed: Callable[[], bool]) -> None:
        while True:
            if is_needed():
                await self.refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    def _adopt(self, stored: dict[str, Cooldown]) -> None:
        own = {key: change for key, change in self._unwritten.items() if change is not None}
        lifted = self._unwritten.keys() - own.keys()
        kept = {key: known for key, known in stored.items() if key not in lifted}
        self._known = _bounded({**kept, **own})

    def _write_soon(self) -> None:
        if self._store is None:
            self._unwritten.clear()
            self._known = _bounded(self._known)
        elif self._writing is None:
            self._writing = asyncio.create_task(self._write(self._store))

    async def _write(self, store: Store) -> None:
        try:
            while self._unwritten:
                changes = dict(self._unwritten)
                stored = await retry_on_conflict(
                    lambda changes=changes: _merge(store, changes),  # type: ignore[misc]
                    (VersionConflict, AlreadyExists),
                )
                for key, change in changes.items():
                    if self._unwritten.get(key) == change:
                        self._unwritten.pop(key, None)
                self._adopt(stored)
        except StoreError as exc:
            self._note_failure(exc)  # the next refresh tries again
        finally:
            self._writing = None

    def _note_failure(self, error: StoreError) -> None:
        if not self._failed:
            log.warning("cooldowns_not_shared", reason=str(error))
        self._failed = True


async def stored_cooldowns(store: Store) -> Mapping[str, Cooldown]:
    """Return the cooldowns in a store that have not ended."""
    document = await store.get(KEY)
    return {} if document is None else _decoded(document.state)


async def _merge(store: Store, changes: Mapping[str, Cooldown | None]) -> dict[str, Cooldown]:
    """Write changes into the store's document, unless it has them; return what it has then."""
    document = await store.get(KEY)
    stored = {} if document is None else _decoded(document.state)
    merged = dict(stored)
    for key, change in changes.items():
        if change is None:
            merged.pop(key, None)
        elif key not in stored or abs(stored[key].until - change.until) > SAME:
            merged[key] = change
    merged = _bounded(merged)
    if merged == stored:
        return stored
    state = {"cooldowns": {key: list(each) for key, each in merged.items()}}
    if document is None:
        await store.write(Insert(KEY, {"id": KEY.id, "object": "cooldowns"}, state))
    else:
        await store.write(Replace(document, state=state))
    return merged


def _decoded(state: JSON) -> dict[str, Cooldown]:
    stored = {key: Cooldown(*each) for key, each in state.get("cooldowns", {}).items()}
    return _bounded(stored)


def _bounded(cooldowns: Mapping[str, Cooldown]) -> dict[str, Cooldown]:
    """Return those that have not ended, no more than MOST."""
    now = time.time()
    left = {key: each for key, each in cooldowns.items() if each.until > now}
    if len(left) > MOST:
        left = dict(sorted(left.items(), key=lambda item: item[1].until)[-MOST:])
    return left
