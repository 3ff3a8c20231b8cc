"""Lightweight transactions on one partition: built of parts, tried until decided, undone by parts."""

import asyncio
import secrets
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from persistence.cassandra.driver import Connection, Outcome, OutcomeUnknown, Statement
from persistence.cassandra.rows import AT, Place, Spot
from persistence.errors import StoreError, StoreUnavailable, VersionConflict

CHECKED_COLUMNS = ("version", "place", "lease", "owner")
CHECKED = f"SELECT {', '.join(CHECKED_COLUMNS)} FROM objects WHERE {AT}"

TOGETHER = 50
"""Transactions of different callers that are done as one at most."""

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

    def ready(self) -> None:
        """Raise what tells that an attempt would be in vain."""

    def present(self, rows: Rows, token: str) -> bool | None:
        """Whether the rows show that an attempt with that token was applied; None if they cannot tell."""
        if not self.spots:
            return None
        return any(spot in rows and rows[spot].get("writer") == token for spot in self.spots)

    def undo(self, place: Place) -> list[Statement]:
        """What takes it back, if a later part of the same write is refused."""
        return []


Merge = Callable[[Sequence[Part], Place, str], list[Statement]]
"""The statements of several parts together."""


@dataclass
class Group:
    """Parts that are done together, in one transaction."""

    place: Place
    parts: list[Part] = field(default_factory=list)

    def takes(self, part: Part) -> bool:
        """Whether a part can join."""
        return part.checks_only or not any(part.spots & other.spots for other in self.parts)


@dataclass(eq=False)
class Waiting:
    """A transaction that somebody waits for."""

    group: Group
    done: asyncio.Future[None]
    until: float

    def refuse(self, reason: BaseException) -> None:
        """Tell who waits."""
        if not self.done.done():
            self.done.set_exception(reason)


class Committer:
    """Runs transactions; those of this process on one partition in turns, as many at once as fit.

    Contention costs a cluster more than a queue does. What comes while a transaction of the same
    partition is on its way waits for the next, which does all of it.
    """

    def __init__(self, connection: Connection, merge: Merge) -> None:
        self._connection = connection
        self._merge = merge
        self._locks: WeakValueDictionary[Place, asyncio.Lock] = WeakValueDictionary()
        self._queues: dict[Place, deque[Waiting]] = {}
        self._workers: set[asyncio.Task[None]] = set()

    def lock(self, place: Place) -> asyncio.Lock:
        """The turn of this process at a partition."""
        return self._locks.setdefault(place, asyncio.Lock())

    async def commit(self, group: Group) -> None:
        """Do all parts or none: the Conflict of the first one refused, StoreUnavailable in the end."""
        if all(part.checks_only for part in group.parts):
            await self._check(group)
            return
        until = time.monotonic() + self._connection.target.timeout
        waiting = Waiting(group, asyncio.get_running_loop().create_future(), until)
        queue = self._queues.get(group.place)
        if queue is not None:
            queue.append(waiting)
        else:
            queue = self._queues[group.place] = deque([waiting])
            worker = asyncio.ensure_future(self._work(group.place, queue))
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        await waiting.done

    async def _check(self, group: Group) -> None:
        """Read, instead of a transaction that would change nothing."""
        for part in group.parts:
            spot = part.spot()
            found = await self._connection.run(CHECKED, (*group.place, *spot))
            part.refused({spot: dict(zip(CHECKED_COLUMNS, found[0], strict=True))} if found else {})

    async def _work(self, place: Place, queue: deque[Waiting]) -> None:
        """Do what waits at a partition, until nothing does."""
        try:
            async with self.lock(place):
                while queue:
                    picked = self._pick(queue)
                    try:
                        await self._commit(place, picked)
                    finally:
                        refuse(picked, StoreUnavailable("a transaction was given up"))
        finally:
            del self._queues[place]
            refuse(queue, StoreUnavailable("a transaction was given up"))

    def _pick(self, queue: deque[Waiting]) -> list[Waiting]:
        """The first that waits, and what else can be in the same transaction, in order."""
        picked: list[Waiting] = []
        left: list[Waiting] = []
        changed: set[Spot] = set()
        while queue and len(picked) < TOGETHER:
            waiting = queue.popleft()
            spots = set[Spot]().union(*(part.spots for part in waiting.group.parts))
            if waiting.until < time.monotonic():
                waiting.refuse(StoreUnavailable(f"too many writers at {waiting.group.place.home}"))
            if waiting.done.done():  # also if whoever waited was cancelled
                continue
            if changed & spots:
                left.append(waiting)
            else:
                picked.append(waiting)
                changed |= spots
        queue.extendleft(reversed(left))
        return picked

    async def _commit(self, place: Place, batch: list[Waiting]) -> None:
        token = secrets.token_hex(8)
        deadline = time.monotonic() + self._connection.target.timeout
        unsure, attempt = False, 0
        while batch:
            attempt += 1
            batch = batch if unsure else worthwhile(batch)
            try:
                statements = self._merge([part for each in batch for part in each.group.parts], place, token)
                outcome = await self._decide(statements)
            except OutcomeUnknown as exc:
                if time.monotonic() > deadline:
                    refuse(batch, exc)
                    return
                unsure = True
                await asyncio.sleep(min(0.05 * 2**attempt, 1.0))
                continue
            except (StoreError, ValueError) as exc:
                refuse(batch, exc)
                return
            rows = {
                Spot(row["section"], row["label"], row["position"]): row
                for row in outcome.rows
                if "section" in row
            }
            if outcome.applied or (unsure and was_applied(batch, rows, token)):
                accept(batch)
                return
            batch = remaining(batch, rows, unsure=unsure)
            unsure = False
            if time.monotonic() > deadline:
                refuse(batch, StoreUnavailable(f"too many writers at {place.home}"))
                return

    async def _decide(self, statements: list[Statement]) -> Outcome:
        if not statements:  # every part found that there is nothing left to do
            return Outcome(applied=True, rows=[])
        return await self._connection.compare_and_set(statements)

    async def undo(self, groups: Sequence[Group]) -> None:
        """Take back what was done, last first, each part unless somebody went on from it."""
        for group in reversed(groups):
            async with self.lock(group.place):
                for part in reversed(group.parts):
                    if statements := part.undo(group.place):
                        with suppress(OutcomeUnknown):
                            await self._connection.settle(statements)


def accept(batch: Sequence[Waiting]) -> None:
    """Tell everybody that it was done."""
    for waiting in batch:
        for part in waiting.group.parts:
            part.applied()
        if not waiting.done.done():
            waiting.done.set_result(None)


def refuse(batch: Iterable[Waiting], reason: BaseException) -> None:
    """Tell everybody that it was not."""
    for waiting in batch:
        waiting.refuse(reason)


def worthwhile(batch: Sequence[Waiting]) -> list[Waiting]:
    """Those that can be tried as they are; the others are told why not."""
    left = []
    for waiting in batch:
        try:
            for part in waiting.group.parts:
                part.ready()
        except StoreError as exc:
            waiting.refuse(exc)
        else:
            left.append(waiting)
    return left


def was_applied(batch: Sequence[Waiting], rows: Rows, token: str) -> bool:
    """Whether an attempt whose outcome was unknown was applied, by the rows that it would have made.

    That a row is away, which it would have removed, counts only where nothing else can tell.
    """
    told = [part.present(rows, token) for waiting in batch for part in waiting.group.parts]
    return True in told or False not in told


def remaining(batch: Sequence[Waiting], rows: Rows, *, unsure: bool) -> list[Waiting]:
    """Those that may be done the next time; the others are told why not.

    A version that is not the expected one may be a successor of ours, if our own attempt's outcome
    is unknown: then nobody can tell whether it was done.
    """
    left = []
    for waiting in batch:
        try:
            for part in waiting.group.parts:
                part.refused(rows)
        except VersionConflict as exc:
            unknown = StoreUnavailable(f"nobody can tell whether a write was done: {exc}")
            waiting.refuse(unknown if unsure else exc)
        except StoreError as exc:
            waiting.refuse(exc)
        else:
            left.append(waiting)
    return left
