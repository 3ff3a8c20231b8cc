"""A cache of list heads, so that most writes need not read them."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from persistence.cassandra.driver import Connection, Statement
from persistence.cassandra.rows import AT, KEY, ListKey, Partition, head_row_key

ROWS = 10_000
BYTES = 32 << 20
"""A bucket that has so many documents, or bytes, takes no more."""

REMEMBERED = 20_000
"""Lists whose heads are remembered."""

REFRESH = 200
"""Documents that this process adds before it looks again what others added."""

SELECT = f"SELECT last, rows, bytes, closed, newest FROM objects WHERE {AT}"
NOTE = f"INSERT INTO objects ({KEY}, shelf) VALUES (?,?,?,?,?,?,?)"


@dataclass(slots=True)
class ListHead:
    """The newest bucket of a list as last seen; `last` is None while it is empty."""

    bucket: int = 0
    last: int | None = None
    rows: int = 0
    bytes: int = 0
    floor: int = 0
    closed: bool = False
    added: int = 0

    @property
    def full(self) -> bool:
        """Whether the next document goes into a new bucket."""
        return self.closed or self.rows >= ROWS or self.bytes >= BYTES

    def update(self, row: dict[str, Any] | None) -> None:
        """Set the head from its row in the database."""
        row = row or {}
        self.last, self.closed = row.get("last"), bool(row.get("closed"))
        self.rows, self.bytes, self.added = row.get("rows") or 0, row.get("bytes") or 0, 0


class ListHeads:
    """Heads by list; each is a hint that the write's transaction checks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: OrderedDict[ListKey, ListHead] = OrderedDict()
        self._homes: OrderedDict[tuple[str, str], frozenset[str]] = OrderedDict()
        self._rolling: WeakValueDictionary[ListKey, asyncio.Lock] = WeakValueDictionary()
        self._noted: OrderedDict[tuple[ListKey, int, str], None] = OrderedDict()

    def remember_home(self, project: str, home: str, heads: dict[str, ListHead | None]) -> None:
        """Remember all heads of an object's partition; None stands for a list of several buckets."""
        for collection, seen in heads.items():
            known = self._known.get(ListKey(project, collection, home))
            if seen is None:
                continue
            if known is None or (known.bucket == 0 and (known.last or 0) < (seen.last or 0)):
                self._remember(ListKey(project, collection, home), seen)
        self._homes[project, home] = frozenset(heads)
        if len(self._homes) > REMEMBERED:
            self._homes.popitem(last=False)

    def invalidate(self, key: ListKey) -> None:
        """Read the head from the database next time."""
        self._known.pop(key, None)
        self._homes.pop((key.project, key.home), None)

    async def find(self, key: ListKey) -> ListHead:
        """Return the head of a list, from memory if it is known."""
        known = self._known.get(key)
        if known is not None and known.added < REFRESH:
            self._known.move_to_end(key)
            return known
        if known is None and key.collection not in self._homes.get((key.project, key.home), key.collection):
            return self._remember(key, ListHead())  # its home was read, and there was no such list
        seen = await self.read(key)
        meanwhile = self._known.get(key)
        if meanwhile is not None and meanwhile is not known:
            return meanwhile  # writers that share a head see each other's documents
        return self._remember(key, seen)

    def newest(self, key: ListKey) -> int:
        """Return the newest bucket that this process knows."""
        known = self._known.get(key)
        return known.bucket if known is not None else 0

    async def read(self, key: ListKey) -> ListHead:
        """Read the head of a list from the database."""
        last, rows, size, closed, newest = await self._row(key, 0)
        number = (newest or {}).get(key.collection, 0)
        if not number:
            return ListHead(0, last, rows, size, closed=closed)
        floor = 0
        last, rows, size, closed, _ = await self._row(key, number)
        if last is None:  # made, and nothing put into it yet
            floor = (await self._row(key, number - 1))[0] or 0
        return ListHead(number, last, rows, size, floor, closed)

    async def _row(self, key: ListKey, number: int) -> tuple[Any, int, int, bool, Any]:
        rows = await self._connection.run(SELECT, (*key.bucket(number), *head_row_key(key.collection)))
        if not rows:
            return None, 0, 0, False, None
        last, count, size, closed, newest = rows[0]
        return last, count or 0, size or 0, bool(closed), newest

    def _remember(self, key: ListKey, known: ListHead) -> ListHead:
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return known

    # --- a new bucket ---

    async def start_next_bucket(self, key: ListKey, full: ListHead) -> ListHead:
        """Close the newest bucket and start the next; safe when others do the same."""
        async with self._rolling.setdefault(key, asyncio.Lock()):
            known = self._known.get(key)
            if known is not None and known.bucket > full.bucket:
                return known
            await self._close_bucket(key, full)
            self.invalidate(key)
            return await self.find(key)

    async def _close_bucket(self, key: ListKey, full: ListHead) -> None:
        partition, row_key = key.bucket(full.bucket), head_row_key(key.collection)
        close = f"UPDATE objects SET closed=true WHERE {AT} IF last=? AND closed=null"
        last = full.last
        while True:
            outcome = await self._connection.compare_and_set_surely(
                [(close, (*partition, *row_key, last)), _closing(partition, key.collection, full.bucket + 1)]
            )
            if outcome.applied:
                break
            row = next((row for row in outcome.rows if row["section"] == row_key.section), None)
            if row is None:  # the list was cleared
                return
            last = row["last"]
            if row["closed"]:
                break
        await self._set_newest(key, full.bucket + 1, (last or 0) + 1)

    async def _set_newest(self, key: ListKey, number: int, start: int) -> None:
        """Record in bucket 0 which bucket is the newest, and where it begins."""
        first = key.bucket(0)
        update = "UPDATE objects SET newest[?]=? WHERE project=? AND home=? AND bucket=? IF newest[?]="
        name = key.collection
        while True:
            row = await self._connection.run(SELECT, (*first, *head_row_key(name)))
            seen = ((row[0][4] if row else None) or {}).get(name, 0)
            if seen >= number:
                return
            point: Statement = (f"{update}null", (name, number, *first, name))
            if seen:
                point = (f"{update}?", (name, number, *first, name, seen))
            outcome = await self._connection.compare_and_set_surely(
                [point, (NOTE, (*first, f"s:{name}", "", start, number))]
            )
            if outcome.applied:
                return

    # --- labels in later buckets ---

    async def note_labels(self, key: ListKey, number: int, labels: Iterable[str]) -> None:
        """Record in bucket 0 that a later bucket has documents of these labels."""
        for label in labels:
            if (key, number, label) not in self._noted:
                await self._connection.run(
                    NOTE, (*key.bucket(0), f"k:{key.collection}", label, number, number)
                )
                self._noted[key, number, label] = None
                if len(self._noted) > REMEMBERED:
                    self._noted.popitem(last=False)

    async def buckets_with_label(self, key: ListKey, label: str, low: int, high: int) -> list[int]:
        """Return the buckets between `low` and `high` with documents of a label, newest first."""
        rows = await self._connection.run(
            "SELECT position FROM objects WHERE project=? AND home=? AND bucket=? AND section=? AND label=? "
            "AND position>? AND position<?",
            (*key.bucket(0), f"k:{key.collection}", label, low, high),
        )
        return [row[0] for row in rows]

    async def bucket_of(self, key: ListKey, position: int) -> int:
        """Return the bucket that holds a position."""
        found = await self._connection.run(
            "SELECT shelf FROM objects WHERE project=? AND home=? AND bucket=? AND section=? AND label='' "
            "AND position<=? LIMIT 1",
            (*key.bucket(0), f"s:{key.collection}", position),
        )
        return int(found[0][0]) if found else 0


def _closing(partition: Partition, collection: str, following: int) -> tuple[str, tuple[Any, ...]]:
    """Return the statement by which reads of a bucket learn that another one follows."""
    query = "UPDATE objects SET closed_lists[?]=? WHERE project=? AND home=? AND bucket=?"
    return query, (collection, following, *partition)
