"""Where the files of a form go while they arrive: into the store, or on disk until the request's end."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from typing import Protocol

from handlers.context import UploadedFile
from inference.identifiers import new_id
from inference.retrieval.contents import CLAIM_SECONDS, delete_unclaimed, discard
from inference.spool import Spool, SpooledFile
from persistence.store import Store


class Sink(Protocol):
    """One file on its way."""

    async def put(self, piece: bytes) -> None:
        """Take the next bytes; raises what the store or the disk raises."""

    async def finish(self) -> None:
        """Wait until the whole file can be read."""

    async def discard(self) -> None:
        """Delete what there is of the file."""

    def file(self, filename: str, content_type: str) -> UploadedFile | SpooledFile:
        """Return the finished file."""


class StoreSink:
    """Writes a file into the store, with its size and MD5."""

    def __init__(self, store: Store, project: str) -> None:
        self._store = store
        self._project = project
        self._content_id = new_id("content_")
        self._size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=4)
        self._write = asyncio.create_task(self._write_content())

    async def put(self, piece: bytes) -> None:
        """Queue a piece for the store; raises what the store raised, if it has failed."""
        self._size += len(piece)
        await self._offer(piece)

    async def finish(self) -> None:
        """Wait until the whole file is durable."""
        await self._offer(None)
        await self._write

    async def discard(self) -> None:
        """Stop writing, and delete what was stored."""
        self._write.cancel()
        await asyncio.gather(self._write, return_exceptions=True)
        await discard(self._store, self._project, self._content_id)

    def file(self, filename: str, content_type: str) -> UploadedFile:
        """Return the finished file."""
        return UploadedFile(
            content_id=self._content_id,
            filename=filename,
            content_type=content_type,
            size=self._size,
            md5=self._md5.hexdigest(),
        )

    async def _write_content(self) -> None:
        store, project = self._store, self._project
        due = time.time() + CLAIM_SECONDS
        enqueued = asyncio.create_task(store.write(delete_unclaimed(project, self._content_id, due)))
        try:
            await store.write_content(project, self._content_id, self._pieces())
        finally:
            await asyncio.gather(enqueued, return_exceptions=True)
        await enqueued

    async def _pieces(self) -> AsyncIterator[bytes]:
        while (piece := await self._queue.get()) is not None:
            # Hashing 512 kB takes a millisecond and releases the GIL.
            await asyncio.to_thread(self._md5.update, piece)
            yield piece

    async def _offer(self, piece: bytes | None) -> None:
        put = asyncio.ensure_future(self._queue.put(piece))
        try:
            await asyncio.wait((put, self._write), return_when=asyncio.FIRST_COMPLETED)
        finally:
            put.cancel()
        if self._write.done():
            await self._write  # It ended early, so it failed: raise why.


class SpoolSink:
    """Appends a file to the request's spool, which is closed at the request's end."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._start = spool.size

    async def put(self, piece: bytes) -> None:
        """Write a piece."""
        await self._spool.write(piece)

    async def finish(self) -> None:
        """Do nothing: what is written can be read."""

    async def discard(self) -> None:
        """Do nothing: the spool goes with the request."""

    def file(self, filename: str, content_type: str) -> SpooledFile:
        """Return the finished file."""
        return SpooledFile(self._spool, self._start, self._spool.size - self._start, filename, content_type)
