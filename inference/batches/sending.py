"""Sends the lines of a batch and stores their answers: one worker's attempt."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Literal

import orjson
import structlog

from inference.batches.caller import LineAnswer, LineCaller, Sender
from inference.batches.journal import Journal
from inference.batches.lines import split_lines
from inference.batches.objects import answered_line
from inference.batches.slots import LineSlots
from inference.identifiers import new_id
from inference.leases import Lease
from persistence import large_json
from persistence.errors import LeaseLost, StoreError, StoreUnavailable, VersionConflict
from persistence.large_json import Pauses
from persistence.store import Document, Hold, Replace, Store
from persistence.types import JSON
from spec.errors import InvalidRequest

FLUSH_SECONDS = 0.5
"""How long an answer waits to be stored, at most; a killed worker's lines of that time are sent again."""

CHECK_SECONDS = 1.0
"""Between two writes of the batch's counts, and two looks for a cancellation."""

MOST_PENDING = 8 * 1024 * 1024
"""Bytes of answers that wait to be stored, above which no more lines are sent."""

ATTEMPTS = 5
"""Times that a line is sent where the provider is busy or broken, with the gateway's retries each time."""

RETRIED = frozenset({408, 429, 500, 502, 503, 504, 529})
"""Statuses after which a line is sent again."""

LONGEST_PAUSE = 60.0

LAST_FLUSH_SECONDS = 2.0
"""For storing what was answered when the attempt is cancelled."""

log = structlog.get_logger("astrolabe.batches")

Outcome = Literal["completed", "expired", "cancelling", "stopping"]


@dataclass(frozen=True, slots=True)
class SendingOptions:
    """How long a batch waits, in seconds.

    `patience` is for the lines in flight when the batch is cancelled or expires. `pause` comes before the
    second attempt at a line, and doubles.
    """

    patience: float = 30.0
    pause: float = 2.0


class LineSending:
    """Sends the lines of one batch that are not answered yet, in their order and many at a time."""

    def __init__(
        self,
        store: Store,
        lease: Lease,
        document: Document,
        sender: Sender,
        *,
        caller: LineCaller,
        journal: Journal,
        slots: LineSlots,
        is_stopping: Callable[[], bool],
        options: SendingOptions,
    ) -> None:
        self._store = store
        self._lease = lease
        self._document = document
        self._sender = sender
        self._caller = caller
        self._journal = journal
        self._slots = slots
        self._is_stopping = is_stopping
        self._options = options
        self._progress = journal.progress
        self._open: dict[int, int] = {}
        self._position = (self._progress.resume_line, self._progress.resume_offset)
        self._tasks: set[asyncio.Task[None]] = set()
        self._outcome: Outcome = "completed"
        self._stopped = asyncio.Event()
        self._flushed = asyncio.Event()

    async def run(self) -> Outcome:
        """Send lines until all are answered or something ends the batch; store what was answered."""
        try:
            async with asyncio.TaskGroup() as group:
                upkeep = group.create_task(self._keep_up())
                feeding = group.create_task(self._feed(group))
                stopped = group.create_task(self._stopped.wait())
                await asyncio.wait([feeding, stopped], return_when=asyncio.FIRST_COMPLETED)
                feeding.cancel()
                await self._finish_lines()
                await self._store_the_rest()
                stopped.cancel()
                upkeep.cancel()
        except BaseExceptionGroup as failures:
            raise _first(failures) from None
        except asyncio.CancelledError:
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(LAST_FLUSH_SECONDS):
                    await self._journal.flush()
            raise
        await self._save()
        # The server's stop may have cancelled a line before the batch noticed the stop.
        return "stopping" if self._open and self._outcome == "completed" else self._outcome

    # --- lines ---

    async def _feed(self, group: asyncio.TaskGroup) -> None:
        project, model = self._sender.project, self._document.value["model"]
        index, start = self._progress.resume_line, self._progress.resume_offset
        pieces, pauses = self._store.read_content(project, self._document.state["content"], start), Pauses()
        async for line in split_lines(pieces, self._caller.longest_line, start):
            if not self._progress.is_answered(index):
                self._open[index] = line.start
                size = line.end - line.start
                await self._slots.acquire(project, model, size)
                task = group.create_task(self._answer(index, line.raw or b"", size))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            index += 1
            self._position = (index, line.end)
            while self._journal.pending_bytes > MOST_PENDING:
                self._flushed.clear()
                await self._flushed.wait()
            await pauses.pause_if_due()

    async def _answer(self, index: int, raw: bytes, size: int) -> None:
        try:
            custom_id, answer = await self._ask(raw)
        finally:
            self._slots.release(self._sender.project, self._document.value["model"], size)
        if answer is not None:
            usage = await _usage(answer)
            text = answered_line(custom_id, answer)
            self._journal.add(index, text, usage, is_success=answer.is_success)

    async def _ask(self, raw: bytes) -> tuple[str, LineAnswer | None]:
        """Return the custom_id of a line and its last answer; None if the batch ended before it had one."""
        endpoint = self._document.value["endpoint"]
        try:
            line = await self._caller.check(self._sender, endpoint, raw)
        except InvalidRequest as exc:  # the server has become stricter since the line was validated
            error = {"message": exc.message, "type": "invalid_request_error", "param": exc.param}
            body = orjson.dumps({"error": {**error, "code": exc.code}})
            return (await large_json.loads(raw))["custom_id"], LineAnswer(400, new_id("req_"), body)
        for attempt in count(1):
            answer = await self._caller.call(self._sender, endpoint, line["body"])
            if not _is_worth_retrying(answer) or attempt == ATTEMPTS:
                break
            if not await self._pause(answer, attempt):
                return line["custom_id"], None
        return line["custom_id"], answer

    async def _pause(self, answer: LineAnswer, attempt: int) -> bool:
        """Wait before a line is sent again; return False if the batch ends meanwhile."""
        doubled = self._options.pause * 2 ** (attempt - 1)
        seconds = min(max(doubled, answer.retry_after or 0.0), LONGEST_PAUSE)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds * random.uniform(1, 1.25)):  # noqa: S311 - jitter
                await self._stopped.wait()
        return not self._stopped.is_set()

    async def _finish_lines(self) -> None:
        """Wait for the lines in flight; where the batch ends before its last line, not for ever."""
        while self._tasks:
            if self._stopped.is_set():
                patience = None if self._outcome == "stopping" else self._options.patience
                await asyncio.wait(self._tasks, timeout=patience)
                for task in list(self._tasks):
                    task.cancel()
                return
            await asyncio.wait(self._tasks, timeout=CHECK_SECONDS / 4)

    async def _store_the_rest(self) -> None:
        """Wait until the upkeep has stored all answers."""
        while self._journal.pending_bytes:
            self._flushed.clear()
            self._journal.is_full.set()
            await self._flushed.wait()

    # --- what is stored ---

    async def _keep_up(self) -> None:
        """Store answers and counts now and then, and notice what ends the batch."""
        saved = time.monotonic()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._journal.is_full.wait()
            try:
                await self._flush()
                if time.monotonic() - saved >= CHECK_SECONDS:
                    await self._save()
                    saved = time.monotonic()
            except StoreUnavailable as exc:  # the lease says when that has taken too long
                log.warning("batch_not_stored", id=self._document.id, error=str(exc))
                await asyncio.sleep(FLUSH_SECONDS)
            if self._is_stopping():
                self._stop("stopping")
            elif time.time() >= self._document.value["expires_at"]:
                self._stop("expired")

    def _stop(self, outcome: Outcome) -> None:
        if not self._stopped.is_set():
            self._outcome = outcome
            self._stopped.set()

    async def _flush(self) -> None:
        for line in await self._journal.flush():
            self._open.pop(line, None)
        self._flushed.set()

    async def _save(self) -> None:
        """Store the counts and where to continue; a batch that was cancelled meanwhile stops."""
        progress = self._progress
        progress.resume_line, progress.resume_offset = next(iter(self._open.items()), self._position)
        state = progress.to_json()
        if state == self._document.state["progress"]:
            self._document = await self._read()
        else:
            try:
                await self._write(state)
            except VersionConflict:  # only a cancellation changes a batch that is held
                self._document = await self._read()
                await self._write(state)
        if self._document.value["status"] == "cancelling":
            self._stop("cancelling")

    async def _write(self, state: JSON) -> None:
        document = self._document
        value = {**document.value, "request_counts": self._progress.counts, "usage": state["usage"]}
        change = Replace(document, value, {**document.state, "progress": state})
        self._document = (await self._store.write(Hold(self._lease.job), change))[0]

    async def _read(self) -> Document:
        document = await self._store.get(self._document.key)
        if document is None:
            raise LeaseLost(f"{self._document.id} does not exist any more")
        return document


def _is_worth_retrying(answer: LineAnswer) -> bool:
    return answer.status in RETRIED and b'"insufficient_quota"' not in answer.body


async def _usage(answer: LineAnswer) -> JSON | None:
    """Return what an answer says that it cost, in its endpoint's words."""
    if not answer.is_success:
        return None
    value = await large_json.loads(answer.body)
    usage = value.get("usage") if isinstance(value, dict) else None
    return usage if isinstance(usage, dict) else None


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the failure that counts: that of the store or the lease, else the first one."""
    for failure in failures.exceptions:
        if isinstance(failure, StoreError):
            return failure
    return failures.exceptions[0]
