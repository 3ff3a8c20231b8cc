"""The one writing thread of a process, which commits everything that is queued at once."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import apsw

from persistence.errors import StoreError, StoreUnavailable
from persistence.sqlite.database import FileIdentity, connect
from persistence.sqlite.errors import map_error
from persistence.sqlite.fair_lock import FairLock

BATCH = 256
"""Units in one transaction at most: bounds how long another process waits."""

WRITE_TIMEOUT = 20.0
"""Seconds that a write waits for its turn at most; one that has begun may be committed, and is waited for."""

T = TypeVar("T")


@dataclass(slots=True)
class QueuedWrite:
    """Statements that are applied all or none, and the future of their caller."""

    work: Callable[[apsw.Connection], Any]
    future: "asyncio.Future[Any]"
    result: Any = None
    error: Exception | None = None
    _claimed: threading.Lock = field(default_factory=threading.Lock)

    def claim(self) -> bool:
        """Return True for the first caller: the thread that begins it, or the timer that gives it up."""
        return self._claimed.acquire(blocking=False)

    def settle(self) -> None:
        """Resolve the future; call it in the event loop's thread."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Writer:
    """Group commit: writes that queue up while one transaction is synced share the next.

    Each write has a savepoint, so a conflict undoes it alone. Its future is resolved after the commit.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = connect(path)
        self.file = FileIdentity(path)
        self._fair_lock = FairLock(Path(f"{path}-turn"))
        self._queue: queue.SimpleQueue[QueuedWrite | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"writer of {path.name}", daemon=True)
        self._thread.start()
        self._closed = False

    async def run(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run `work` in a transaction; an error rolls it back and is raised here."""
        if self._closed:
            raise StoreUnavailable(f"{self._path} is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        write = QueuedWrite(work, future)
        self._queue.put(write)
        # A timer takes 1 µs, asyncio.timeout 6.
        timer = loop.call_later(WRITE_TIMEOUT, self._give_up, write)
        try:
            return await future
        finally:
            timer.cancel()
            del write, future  # An error refers to this frame, and they to the error.

    def _give_up(self, write: QueuedWrite) -> None:
        if not write.future.done() and write.claim():
            error = StoreUnavailable(f"{self._path}: no write lock within {WRITE_TIMEOUT} s")
            write.future.set_exception(error)

    async def close(self) -> None:
        """Finish the queued writes, then end the thread."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        going = True
        while going:
            writes, going = self._gather()
            if writes:
                with self._fair_lock:
                    self._transact(writes)
                settle_in_loops(writes)
        self._fair_lock.close()
        self._connection.close()

    def _gather(self) -> tuple[list[QueuedWrite], bool]:
        """Wait for a unit and take along the others that are there; False once it is time to end."""
        writes: list[QueuedWrite] = []
        write = self._queue.get()
        while write is not None:
            writes.append(write)
            if len(writes) == BATCH:
                return writes, True
            try:
                write = self._queue.get_nowait()
            except queue.Empty:
                return writes, True
        return writes, False

    def _transact(self, writes: list[QueuedWrite]) -> None:
        """Run the writes in one transaction; if it fails as a whole, each of them fails."""
        connection = self._connection
        try:
            self.file.check()
            connection.execute("BEGIN IMMEDIATE")
            for write in writes:
                if write.future.done() or not write.claim():  # cancelled, or given up
                    continue
                if len(writes) == 1:  # the transaction is its savepoint
                    write.result = write.work(connection)
                else:
                    self._perform(write)
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - handed to the waiters, whatever it is
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            for write in writes:
                write.error = write.error or self._mapped(error)

    def _perform(self, write: QueuedWrite) -> None:
        """Run one write in its savepoint; raise only if SQLite has rolled back the transaction."""
        connection = self._connection
        connection.execute("SAVEPOINT unit")
        try:
            write.result = write.work(connection)
        except Exception as error:
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO unit")
            write.error = self._mapped(error)
        connection.execute("RELEASE unit")

    def _mapped(self, error: Exception) -> Exception:
        if isinstance(error, apsw.Error | StoreError):
            # Its frames hold what was to be written, perhaps megabytes, and refer to the error themselves.
            error.__traceback__ = None
        if not isinstance(error, apsw.Error):
            return error
        mapped = map_error(error, self._path)
        mapped.__cause__ = error
        return mapped


def settle_in_loops(writes: list[QueuedWrite]) -> None:
    """Resolve the futures of a transaction, each in its event loop."""
    loops = {write.future.get_loop() for write in writes}
    for loop in loops:
        own = writes if len(loops) == 1 else [write for write in writes if write.future.get_loop() is loop]
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any longer
            loop.call_soon_threadsafe(settle, own)


def settle(writes: list[QueuedWrite]) -> None:
    """Resolve the futures of a transaction in one turn of the loop."""
    for write in writes:
        write.settle()
