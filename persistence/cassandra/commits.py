"""Lightweight transactions on one partition: built of parts, tried until decided, undone by parts."""

import asyncio
import secrets
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from astrolabe_server.persistence.cassandra.driver import Connection, OutcomeUnknown, Statement
from astrolabe_server.persistence.cassandra.rows import AT, Place, Spot
from astrolabe_server.persistence.errors import StoreUnavailable

CHECKED_COLUMNS = ("version", "place", "lease", "owner")
CHECKED = f"SELECT {', '.join(CHECKED_COLUMNS)} FROM objects WHERE {AT}"

Rows = Mapping[Spot, Mapping[str, Any]]
"""The rows that a refused transaction had conditions on, as the database has them."""


class Part:
    """Statements of one operation in one partition, and what their refusal means."""

    spots: frozenset[Spot] = frozenset()
    """Rows that it changes: two parts that change the same one are not of one transaction."""

    checks_only = False

    def spot(self) -> Spot:
        """The row that a part has its condition on, for those that do nothing but check."""
        raise NotImplementedError

    @abstractmethod
    def statements(self, place: Place, token: str) -> list[Statement]:
        """What to run; called again for each attempt."""

    def refused(self, rows: Rows) -> None:
        """Raise a Conflict if its condition can never hold; else adapt, so that it may the next time."""

    def applied(self) -> None:
        """Note that it was done."""

    def present(self, rows: Rows, token: str) -> bool:
        """Whether the rows show that an attempt with that token was applied after all."""
        return any(spot in rows and rows[spot].get("writer") == token for spot in self.spots)

    def undo(self, place: Place) -> list[Statement]:
        """What takes it back, if a later part of the same write is refused."""
        return []


@dataclass
class Group:
    """Parts that are done together, in one transaction."""

    place: Place
    parts: list[Part] = field(default_factory=list)

    def takes(self, part: Part) -> bool:
        """Whether a part can join."""
        return part.checks_only or not any(part.spots & other.spots for other in self.parts)


class Committer:
    """Runs transactions; those of this process on the same partition one after the other."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._locks: WeakValueDictionary[Place, asyncio.Lock] = WeakValueDictionary()

    def lock(self, place: Place) -> asyncio.Lock:
        """The turn of this process at a partition: contention costs a cluster more than a queue."""
        lock = self._locks.get(place)
        if lock is None:
            lock = self._locks[place] = asyncio.Lock()
        return lock

    async def commit(self, group: Group) -> None:
        """Do all parts or none: the Conflict of the first one refused, StoreUnavailable in the end."""
        if all(part.checks_only for part in group.parts):
            await self._check(group)
            return
        async with self.lock(group.place):
            await self._commit(group)
        for part in group.parts:
            part.applied()

    async def _check(self, group: Group) -> None:
        """Read, instead of a transaction that would change nothing."""
        for part in group.parts:
            spot = part.spot()
            found = await self._connection.run(CHECKED, (*group.place, *spot))
            part.refused({spot: dict(zip(CHECKED_COLUMNS, found[0], strict=True))} if found else {})

    async def _commit(self, group: Group) -> None:
        token = secrets.token_hex(8)
        deadline = time.monotonic() + self._connection.target.timeout
        unsure, attempt = False, 0
        while True:
            attempt += 1
            statements = [each for part in group.parts for each in part.statements(group.place, token)]
            if not statements:  # every part found that there is nothing left to do
                return
            try:
                outcome = await self._connection.compare_and_set(statements)
            except OutcomeUnknown:
                if time.monotonic() > deadline:
                    raise
                unsure = True
                await asyncio.sleep(min(0.05 * 2**attempt, 1.0))
                continue
            if outcome.applied:
                return
            rows = {
                Spot(row["section"], row["label"], row["position"]): row
                for row in outcome.rows
                if "section" in row
            }
            if unsure and any(part.present(rows, token) for part in group.parts):
                return
            for part in group.parts:
                part.refused(rows)
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"too many writers at {group.place.home}")

    async def undo(self, groups: Sequence[Group]) -> None:
        """Take back what was done, last first."""
        for group in reversed(groups):
            statements = [each for part in group.parts for each in part.undo(group.place)]
            if not statements:
                continue
            async with self.lock(group.place):
                for _ in range(3):
                    try:
                        await self._connection.compare_and_set(statements)
                    except OutcomeUnknown:
                        continue
                    break
