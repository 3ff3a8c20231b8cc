"""The answers of a batch's lines as they are stored: in segments, each written once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from inference.batches.objects import add_usage, no_usage
from inference.batches.progress import Progress
from inference.identifiers import new_id
from inference.leases import Lease
from inference.retrieval.contents import claim, write_unclaimed
from persistence.collections import BATCH_SEGMENTS
from persistence.errors import AlreadyExists, StoreUnavailable
from persistence.listing import pages
from persistence.store import Document, Hold, Insert, Key, Operation, Store, child_id
from persistence.types import JSON

SEGMENT_BYTES = 512 * 1024
"""Bytes of answers after which a segment is written."""

LARGE_ANSWER = 1024 * 1024
"""Bytes of an answer that gets a content of its own; its segment names it."""

LARGE = "large"
"""The label of segments that name contents."""

PAGE = 20


@dataclass(slots=True)
class _Pending:
    line: int
    is_success: bool
    text: bytes
    usage: JSON | None


class Journal:
    """Stores the answers of one batch under its job's lease.

    The segments have consecutive numbers, and one is never replaced. A worker that takes the batch over
    reads those that the batch's state does not count yet. If a lost worker's write arrives even later, the
    next number is taken, and its answers count instead of this worker's own.
    """

    def __init__(self, store: Store, lease: Lease, progress: Progress) -> None:
        self.progress = progress
        self.is_full = asyncio.Event()
        self.pending_bytes = 0
        self._store = store
        self._lease = lease
        self._pending: list[_Pending] = []
        self._lock = asyncio.Lock()

    async def catch_up(self) -> None:
        """Count the segments that were written after the batch's state."""
        project, batch = self._lease.job.project, self._lease.job.id
        while segment := await self._store.get(_key(project, batch, self.progress.segments)):
            self.progress.add(segment.value)

    def add(self, line: int, text: bytes, usage: JSON | None, *, is_success: bool) -> None:
        """Take an answer, which the next `flush` stores."""
        self._pending.append(_Pending(line, is_success, text, usage))
        self.pending_bytes += len(text)
        if self.pending_bytes >= SEGMENT_BYTES:
            self.is_full.set()

    async def flush(self) -> list[int]:
        """Store what has been added so far; return the lines that are answered now."""
        flushed: list[int] = []
        async with self._lock:
            self.is_full.clear()
            count = len(self._pending)  # more may be added for as long as this goes on
            while len(flushed) < count:
                flushed += await self._write_segment()
        return flushed

    async def _write_segment(self) -> list[int]:
        taken = self._next()
        lines = [each.line for each in taken]
        new = [each for each in taken if not self.progress.is_answered(each.line)]
        if new:
            value, claims = await self._segment(new)
            project, batch = self._lease.job.project, self._lease.job.id
            insert = Insert(
                _key(project, batch, self.progress.segments),
                value,
                parent=batch,
                labels=frozenset({LARGE} if claims else ()),
            )
            try:
                await self._store.write(Hold(self._lease.job), insert, *claims)
            except AlreadyExists:  # a lost worker's, or this one's own whose outcome was not known
                await self._catch_up_with_lost_write()
                return []
            self.progress.add(value)
        del self._pending[: len(taken)]
        self.pending_bytes -= sum(len(each.text) for each in taken)
        return lines

    async def _catch_up_with_lost_write(self) -> None:
        known = self.progress.segments
        await self.catch_up()
        if self.progress.segments == known:
            raise StoreUnavailable(f"segment {known} of {self._lease.job.id} exists, but cannot be read")

    def _next(self) -> list[_Pending]:
        """Return the next answers for one segment; they stay pending until it is written."""
        size, taken = 0, list[_Pending]()
        for each in self._pending:
            size += len(each.text) if len(each.text) < LARGE_ANSWER else 0
            if taken and size > SEGMENT_BYTES:
                break
            taken.append(each)
        return taken

    async def _segment(self, answers: list[_Pending]) -> tuple[JSON, list[Operation]]:
        """Return the segment of these answers, and the writes that keep the contents it names."""
        usage, entries, claims = no_usage(), list[list[Any]](), list[Operation]()
        for each in answers:
            stored: str | JSON = each.text.decode() if len(each.text) < LARGE_ANSWER else {}
            if not isinstance(stored, str):
                content = await self._keep(each.text)
                stored = {"content": content}
                claims.append(claim(self._lease.job.project, content))
            entries.append([each.line, each.is_success, stored])
            if each.usage:
                add_usage(usage, each.usage)
        return {"answers": entries, "usage": usage}, claims

    async def _keep(self, text: bytes) -> str:
        content, project = new_id("content_"), self._lease.job.project
        await write_unclaimed(self._store, project, _pieces(text), id=content)
        return content


async def segments(
    store: Store, project: str, batch: str, label: str | None = None
) -> AsyncIterator[Document]:
    """Yield a batch's segments in order, those with a label if one is given."""
    async for page in pages(store, project, BATCH_SEGMENTS, batch, label=label, limit=PAGE):
        for document in page:
            yield document


async def _pieces(text: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(text), SEGMENT_BYTES):
        yield text[start : start + SEGMENT_BYTES]


def _key(project: str, batch: str, number: int) -> Key:
    return Key(project, BATCH_SEGMENTS, child_id(batch, f"{number:06}"))
