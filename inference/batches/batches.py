"""Batches of a store: created and cancelled by requests, run by jobs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from inference.batches.caller import LineCaller, Sender
from inference.batches.errors import BatchNotCancellable, BatchNotFound
from inference.batches.journal import LARGE, Journal, segments
from inference.batches.objects import ENDED, batch_error, error_list, moved, new_batch
from inference.batches.output import OutputFiles
from inference.batches.progress import Progress
from inference.batches.sending import LineSending, Outcome, SendingOptions
from inference.batches.slots import LineSlots
from inference.batches.validation import MAX_BYTES, Validation
from inference.deletion import clear_in_slices
from inference.errors import SettingsNotKept
from inference.gateway import CallerSettings, Gateway
from inference.identifiers import new_id
from inference.jobs import Jobs
from inference.leases import Lease
from inference.retrieval.contents import claim, write_unclaimed
from inference.retrieval.deadlines import Deadlines
from inference.retrieval.files import Files
from inference.sealing import Sealer
from inference.webhooks.delivery import Webhooks
from persistence.collections import BATCH_SEGMENTS, BATCHES, FILES
from persistence.errors import AlreadyExists, ContentNotFound, LeaseLost, VersionConflict
from persistence.retry import retry_on_conflict
from persistence.store import (
    Document,
    Enqueue,
    Finish,
    Hold,
    Insert,
    Job,
    Key,
    Operation,
    Replace,
    Reschedule,
    Store,
)
from persistence.types import JSON

KIND = "batch"

CONCURRENCY = 8
"""Batches that one worker runs at once, half of them of one project."""

WINDOW = 24 * 3600.0
"""Seconds in which a batch is to be completed."""

CLEARED = 100
"""Segments that one write deletes."""

log = structlog.get_logger("astrolabe.batches")


class Batches:
    """The batches of all projects; `window` is the seconds in which each is to be completed.

    A batch's job validates and copies the input file, sends its lines and writes the output files; the
    status says which of these is next, so another worker can continue after each write. The copy lets the
    file be deleted meanwhile.
    """

    def __init__(
        self,
        store: Store,
        gateway: Gateway,
        jobs: Jobs,
        webhooks: Webhooks,
        *,
        files: Files,
        deadlines: Deadlines,
        sealer: Sealer,
        caller: LineCaller,
        slots: LineSlots,
        window: float = WINDOW,
        options: SendingOptions | None = None,
    ) -> None:
        self.caller = caller
        self.sealer = sealer
        self._store = store
        self._gateway = gateway
        self._jobs = jobs
        self._webhooks = webhooks
        self._files = files
        self._deadlines = deadlines
        self.slots = slots
        self._window = window
        self._options = options or SendingOptions()
        jobs.register(KIND, self._run, concurrency=CONCURRENCY, give_up=self._give_up, fair=True)
        deadlines.register(BATCHES, purge=self._purge)

    # --- requests ---

    async def get(self, project: str, id: str) -> Document:
        """Return a batch; BatchNotFound."""
        document = await self._store.get(Key(project, BATCHES, id))
        if document is None:
            raise BatchNotFound(id)
        return document

    async def create(
        self,
        project: str,
        file: Document,
        *,
        endpoint: str,
        completion_window: str,
        metadata: JSON | None = None,
        output_expires_after: JSON | None = None,
        settings: CallerSettings | None = None,
    ) -> JSON:
        """Create a batch of the requests in a file; raise SettingsNotKept."""
        value = new_batch(
            input_file_id=file.id,
            endpoint=endpoint,
            completion_window=completion_window,
            metadata=metadata,
            seconds=self._window,
        )
        payload = {} if settings is None else self.sealer.seal(project, settings)
        has_room = self._jobs.has_room(KIND, project)
        job = Job(
            project,
            KIND,
            value["id"],
            due=time.time() + (self._jobs.lease if has_room else 0.0),
            owner=self._jobs.owner if has_room else "",
            payload=payload,
        )
        state = {"output_expires_after": output_expires_after}
        await self._store.write(Insert(Key(project, BATCHES, value["id"]), value, state), Enqueue(job))
        if has_room:
            self._jobs.adopt(job)
        return value

    async def cancel(self, project: str, id: str) -> JSON:
        """Begin to cancel a batch; the lines in flight may still end. BatchNotFound, BatchNotCancellable."""

        async def attempt() -> JSON:
            document = await self.get(project, id)
            status = document.value["status"]
            if status == "cancelling":
                return document.value
            if status not in ("validating", "in_progress"):
                raise BatchNotCancellable(status)
            value = moved(document.value, "cancelling")
            return (await self._store.write(Replace(document, value)))[0].value

        return await retry_on_conflict(attempt)

    # --- a batch's job ---

    async def _run(self, lease: Lease) -> None:
        try:
            await self._continue(lease)
        finally:
            self._jobs.poll(KIND)  # the next batch need not wait

    async def _continue(self, lease: Lease) -> None:
        document = await self._store.get(_key(lease))
        if document is None or document.value["status"] in ENDED:
            await self._store.write(Finish(lease.job))
            return
        try:
            sender = Sender(lease.job.project, self.sealer.open(lease.job.project, lease.job.payload))
        except SettingsNotKept as exc:
            await self._fail(lease, [batch_error("settings_not_kept", str(exc))])
            return
        if document.value["status"] == "validating":
            document = await self._validate(lease, document, sender)
        if document.value["status"] == "in_progress":
            outcome = await self._send(lease, document, sender)
            if outcome == "stopping":
                await self._store.write(Reschedule(lease.job, time.time()))
                return
            document = await self._begin_end(lease, outcome)
        if document.value["status"] in ("finalizing", "cancelling"):
            await self._end(lease, document)

    async def _send(self, lease: Lease, document: Document, sender: Sender) -> Outcome:
        """Send the lines that are not answered yet; return what ended that."""
        # Again in each attempt: a crash may have come between the batch's write and this one.
        await self._store.write(claim(sender.project, document.state["content"]))
        journal = Journal(self._store, lease, _progress(document))
        await journal.catch_up()
        sending = LineSending(
            self._store,
            lease,
            document,
            sender,
            caller=self.caller,
            journal=journal,
            slots=self.slots,
            is_stopping=lambda: self._jobs.is_stopping,
            options=self._options,
        )
        return await sending.run()

    async def _validate(self, lease: Lease, document: Document, sender: Sender) -> Document:
        """Validate and copy the input file; return the batch as it is then."""
        project, copy = document.key.project, new_id("content_")
        endpoint = document.value["endpoint"]
        check = (lambda _: None) if sender.settings else self._gateway.check_model
        validation = Validation(self.caller, sender, endpoint, check)
        file = await self._store.get(Key(project, FILES, document.value["input_file_id"]))
        if file is None:
            return await self._fail(lease, [batch_error("file_not_found", "The input file was deleted.")])
        if file.value["bytes"] > MAX_BYTES:
            message = f"The input file has {file.value['bytes']} bytes, and {MAX_BYTES} are allowed."
            return await self._fail(lease, [batch_error("file_too_large", message)])
        try:
            lines = validation.pieces(self._files.read(file))
            await write_unclaimed(self._store, project, lines, id=copy)
        except ContentNotFound:
            return await self._fail(lease, [batch_error("file_not_found", "The input file was deleted.")])
        if validation.errors:
            await self._store.delete_content(project, copy)
            return await self._fail(lease, validation.errors)

        def begin(current: Document) -> Replace:
            progress = Progress.of_lines(validation.lines)
            fields = {"model": validation.model, "request_counts": progress.counts}
            is_cancelled = current.value["status"] == "cancelling"
            value = current.value if is_cancelled else moved(current.value, "in_progress")
            state = {**current.state, "content": copy, "progress": progress.to_json()}
            return Replace(current, {**value, **fields}, state)

        return await self._update(lease, begin)

    async def _fail(self, lease: Lease, errors: list[JSON]) -> Document:
        """End a batch without output files; one that was cancelled meanwhile stays cancelled."""

        async def attempt() -> Document:
            document = await self._read(lease)
            status = "cancelled" if document.value["status"] == "cancelling" else "failed"
            value = moved(document.value, status, errors=error_list(errors) if status == "failed" else None)
            return await self._conclude(lease, Replace(document, value), [])

        return await retry_on_conflict(attempt)

    async def _begin_end(self, lease: Lease, outcome: str) -> Document:
        """Have the output files written next, unless the batch was cancelled; choose their ids."""

        def begin(current: Document) -> Replace:
            value = current.value
            if value["status"] != "cancelling":
                value = moved(value, "finalizing")
            return Replace(current, value, {**current.state, "end": outcome})

        return await self._update(lease, begin)

    async def _end(self, lease: Lease, document: Document) -> None:
        """Write the output files and end the batch."""
        if "progress" not in document.state:  # cancelled before it was validated
            await self._fail(lease, [])
            return
        if "files" not in document.state:
            files = {"output": new_id("file-"), "error": new_id("file-")}
            document = await self._update(
                lease, lambda current: Replace(current, state={**current.state, "files": files})
            )
        journal = Journal(self._store, lease, _progress(document))
        await journal.catch_up()
        progress, is_cancelled = journal.progress, document.value["status"] == "cancelling"
        status = "cancelled" if is_cancelled else document.state["end"]
        output = OutputFiles(self._store, self._files, document, progress, self.caller.longest_line)
        await output.write(with_expired=status == "expired")
        if status == "expired":
            progress.failed = progress.total - progress.completed

        async def attempt() -> None:
            current = await self._read(lease)
            fields, creation = await output.creation()
            counts = {"request_counts": progress.counts, "usage": progress.to_json()["usage"]}
            value = moved(current.value, status, **fields, **counts)
            await self._conclude(lease, Replace(current, value), creation)

        await retry_on_conflict(attempt, (VersionConflict, AlreadyExists))

    async def _conclude(self, lease: Lease, change: Replace, creation: Sequence[Operation]) -> Document:
        """End a batch and its job by one write, which creates its files too.

        Its event is delivered, and its segments are deleted, in the background.
        """
        value, project, id = change.value or {}, lease.job.project, lease.job.id
        purge = self._deadlines.purge(project, BATCHES, id, content=change.document.state.get("content"))
        event = self._webhooks.announce(project, f"batch.{value['status']}", id)
        written = await self._store.write(
            Hold(lease.job), *creation, change, *event, purge, Finish(lease.job)
        )
        self._deadlines.run_in_background(purge)
        log.info("batch_ended", project=project, id=id, status=value["status"], **value["request_counts"])
        return written[-1]

    async def _give_up(self, lease: Lease) -> None:
        """Fail a batch whose job was given up, unless it has come further since it was given up before."""
        document = await self._store.get(_key(lease))
        if document is None or document.value["status"] in ENDED:
            await self._store.write(Finish(lease.job))
            return
        stored = document.state.get("progress", {}).get("segments", 0)
        if stored > document.state.get("given_up_at", 0):
            state = {**document.state, "given_up_at": stored}
            payload = {name: value for name, value in lease.job.payload.items() if name != "attempts"}
            again = replace(lease.job, due=time.time(), owner="", takeovers=0, payload=payload)
            await self._store.write(Hold(lease.job), Replace(document, state=state), Enqueue(again))
            return
        message = "The batch was given up: the server failed, or its worker was lost, each time it ran it."
        await self._fail(lease, [batch_error("server_error", message)])

    async def _purge(self, lease: Lease) -> None:
        """Delete what a batch that has ended needs no longer: its copy of the input, and its segments."""
        project, id = lease.job.project, lease.job.payload["id"]
        if lease.job.payload["content"]:
            await self._store.delete_content(project, lease.job.payload["content"])
        async for segment in segments(self._store, project, id, LARGE):
            for _, _, stored in segment.value["answers"]:
                if not isinstance(stored, str):
                    await self._store.delete_content(project, stored["content"])
        await clear_in_slices(self._store, project, BATCH_SEGMENTS, id, CLEARED)
        await self._store.write(Finish(lease.job))

    async def _read(self, lease: Lease) -> Document:
        document = await self._store.get(_key(lease))
        if document is None:
            raise LeaseLost(f"{lease.job.id} does not exist any more")
        return document

    async def _update(self, lease: Lease, change: Callable[[Document], Replace]) -> Document:
        """Change a batch under the lease of its job; return it as it is then."""

        async def attempt() -> Document:
            document = await self._read(lease)
            return (await self._store.write(Hold(lease.job), change(document)))[0]

        return await retry_on_conflict(attempt)


def _key(lease: Lease) -> Key:
    return Key(lease.job.project, BATCHES, lease.job.id)


def _progress(document: Document) -> Progress:
    return Progress.from_json(document.state["progress"])
