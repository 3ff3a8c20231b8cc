"""The files of vector stores: a document each, under their store, with the job that ingests them."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from inference.identifiers import new_id
from inference.jobs import Jobs
from inference.leases import Lease
from inference.retrieval.attachments import (
    BATCH_OBJECT,
    INGEST,
    Additions,
    Attachment,
    batch_change,
    labels,
    status_label,
    unique,
    vector_store_file_id,
)
from inference.retrieval.counts import empty_counts, move_count
from inference.retrieval.deadlines import Deadlines
from inference.retrieval.errors import ObjectNotFound
from inference.retrieval.files import Files
from inference.retrieval.vector_stores import VectorStores, active, with_status
from persistence.collections import (
    FILE_VECTOR_STORES,
    VECTOR_STORE_FILE_BATCHES,
    VECTOR_STORE_FILES,
    VECTOR_STORES,
)
from persistence.errors import AlreadyExists, VersionConflict
from persistence.retry import retry_on_conflict, update_with_retry
from persistence.store import (
    Attributes,
    Clear,
    Delete,
    Document,
    Enqueue,
    Finish,
    Insert,
    Key,
    Operation,
    Replace,
    Store,
)

PAGE = 100
READS_AT_ONCE = 50

Item = TypeVar("Item")
Result = TypeVar("Result")


async def _read_all(read: Callable[[Item], Awaitable[Result]], items: Sequence[Item]) -> list[Result]:
    """Return what `read` gives for each item, READS_AT_ONCE at a time."""
    results: list[Result] = []
    for start in range(0, len(items), READS_AT_ONCE):
        results += await asyncio.gather(*map(read, items[start : start + READS_AT_ONCE]))
    return results


class VectorStoreFiles:
    """Puts files into vector stores and takes them out; the counts of the store follow each change."""

    def __init__(
        self, store: Store, jobs: Jobs, deadlines: Deadlines, files: Files, vector_stores: VectorStores
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._deadlines = deadlines
        self._files = files
        self._vector_stores = vector_stores

    async def get(self, project: str, vector_store: str, file: str) -> Document:
        """Return the file of a store; raise ObjectNotFound for the store or the file."""
        await self._vector_stores.get(project, vector_store)
        document = await self._store.get(
            Key(project, VECTOR_STORE_FILES, vector_store_file_id(vector_store, file))
        )
        if document is None:
            raise ObjectNotFound(
                f"No file found with id '{file}' in vector store '{vector_store}'.", param="file_id"
            )
        return document

    async def create_store(
        self, project: str, model: str | None, attachments: Sequence[Attachment], **fields: Any
    ) -> Document:
        """Create a vector store with files in it; raise ObjectNotFound for a file that does not exist."""
        attachments = unique(attachments)
        filenames = await self._filenames(project, attachments)
        insert, others = self._vector_stores.creation(project, model=model, **fields)
        additions = self._additions(insert.key, attachments, filenames, {}, None)
        insert = replace(insert, value=with_status(additions.apply_counts(insert.value)))
        written = await self._store.write(insert, *others, *additions.operations)
        self._run_held(additions)
        return written[0]

    async def attach(
        self,
        project: str,
        vector_store: str,
        attachments: Sequence[Attachment],
        batch: Insert | None = None,
        *,
        again: bool = True,
    ) -> None:
        """Put files into a store, to be ingested; raise ObjectNotFound for what does not exist.

        A file that is in the store already is ingested again if `again` is true or if it has failed.
        `batch` is the batch's own document, which is created in the same write.
        """
        attachments = unique(attachments)

        async def attempt() -> Additions:
            store = await self._vector_stores.usable(project, vector_store)
            filenames = await self._filenames(project, attachments)
            present = await self._present(store.key, attachments)
            added = [item for item in attachments if again or not _is_in(present.get(item.file))]
            additions = self._additions(store.key, added, filenames, present, batch.key.id if batch else None)
            batch_changes = await self._batch_changes(project, _batches_in_progress(additions.replaced))
            operations = additions.operations + batch_changes
            if batch is not None:
                operations.insert(0, batch)
            value = active(with_status(additions.apply_counts(store.value)), int(time.time()))
            await self._store.write(*operations, Replace(store, value=value))
            return additions

        self._run_held(await retry_on_conflict(attempt, (VersionConflict, AlreadyExists)))

    async def detach(self, project: str, vector_store: str, file: str) -> None:
        """Take a file out of a store, with its chunks; raise ObjectNotFound for either."""

        async def attempt() -> Enqueue:
            return await self._detach(await self.get(project, vector_store, file), file)

        await self._deadlines.run(await retry_on_conflict(attempt))

    async def detach_everywhere(self, project: str, file: str) -> None:
        """Take a file out of every store that it is in."""
        while True:
            page = await self._store.page(project, FILE_VECTOR_STORES, file, limit=PAGE, order="asc")
            if not page.documents:
                return
            for link in page.documents:
                try:
                    await self.detach(project, link.value["vector_store_id"], file)
                except ObjectNotFound:  # The store was deleted; its own purge job clears the rest.
                    await update_with_retry(self._store, link.key, Delete)

    async def set_attributes(
        self, project: str, vector_store: str, file: str, attributes: Attributes
    ) -> Document:
        """Set the attributes of a file of a store; return its document."""

        async def attempt() -> Document:
            store_file = await self.get(project, vector_store, file)
            value = {**store_file.value, "attributes": dict(attributes)}
            return (await self._store.write(Replace(store_file, value=value)))[0]

        changed = await retry_on_conflict(attempt)
        await self._store.set_attributes(project, vector_store, file, attributes)
        return changed

    async def settle(
        self, lease: Lease, vector_store: str, file: str, outcome: Mapping[str, Any]
    ) -> tuple[Document, Document] | None:
        """End the ingestion of a file with its `status`, `usage_bytes` and `last_error`, and its job.

        Return the documents of the file and the store. Return None and write nothing if the file was
        taken out, its batch cancelled, or its store deleted.
        """
        key = Key(lease.job.project, VECTOR_STORE_FILES, vector_store_file_id(vector_store, file))

        async def attempt() -> tuple[Document, Document] | None:
            store_file = await self._store.get(key)
            if store_file is None or store_file.value["status"] != "in_progress":
                return None
            changes = await self._changes([store_file], outcome)
            if changes is None:
                return None
            written = await self._store.write(*changes, Finish(lease.job))
            return written[0], written[1]

        return await retry_on_conflict(attempt)

    async def create_batch(
        self, project: str, vector_store: str, attachments: Sequence[Attachment]
    ) -> Document:
        """Put files into a store as one batch; return its document."""
        attachments = unique(attachments)
        value = {
            "id": new_id("vsfb_"),
            "object": BATCH_OBJECT,
            "created_at": int(time.time()),
            "status": "in_progress",
            "vector_store_id": vector_store,
            "file_counts": move_count(empty_counts(), None, "in_progress", len(attachments)),
        }
        insert = Insert(Key(project, VECTOR_STORE_FILE_BATCHES, str(value["id"])), value, parent=vector_store)
        await self.attach(project, vector_store, attachments, insert)
        return await self.get_batch(project, vector_store, insert.key.id)

    async def get_batch(self, project: str, vector_store: str, batch: str) -> Document:
        """Return a batch of a store; raise ObjectNotFound for the store or the batch."""
        await self._vector_stores.get(project, vector_store)
        document = await self._store.get(Key(project, VECTOR_STORE_FILE_BATCHES, batch))
        if document is None or document.parent != vector_store:
            raise ObjectNotFound(
                f"No file batch found with id '{batch}' in vector store '{vector_store}'.", param="batch_id"
            )
        return document

    async def cancel_batch(self, project: str, vector_store: str, batch: str) -> Document:
        """Cancel the files of a batch that are still in progress; return the batch as it is then."""
        label = status_label("in_progress", batch)
        document = await self.get_batch(project, vector_store, batch)
        await update_with_retry(self._store, document.key, _cancelled)

        async def attempt() -> Document | None:
            """Cancel a page of files; return the batch once none is left."""
            current = await self.get_batch(project, vector_store, batch)
            page = await self._store.page(project, VECTOR_STORE_FILES, vector_store, label=label, limit=PAGE)
            if not page.documents:
                return current
            if changes := await self._changes(page.documents, {"status": "cancelled"}):
                await self._store.write(*changes)
            return None

        while (cancelled := await retry_on_conflict(attempt)) is None:
            pass
        return cancelled

    async def purge_store(self, lease: Lease) -> None:
        """Run a store's purge job: delete the documents of its files and batches, and its chunks."""
        project, vector_store = lease.job.project, lease.job.payload["id"]

        async def attempt() -> bool:
            """Delete a page of files; return whether there was one."""
            page = await self._store.page(project, VECTOR_STORE_FILES, vector_store, limit=PAGE, order="asc")
            links = await _read_all(
                self._store.get, [Key(project, FILE_VECTOR_STORES, each.id) for each in page.documents]
            )
            deletes = [Delete(each) for each in (*page.documents, *links) if each is not None]
            if deletes:
                await self._store.write(*deletes)
            return bool(deletes)

        while await retry_on_conflict(attempt):
            pass
        await self._store.delete_chunks(project, vector_store)
        await self._store.write(Clear(project, VECTOR_STORE_FILE_BATCHES, vector_store), Finish(lease.job))

    async def purge_file(self, lease: Lease) -> None:
        """Run a file's purge job: take it out of its stores and delete its bytes."""
        job = lease.job
        await self.detach_everywhere(job.project, job.payload["id"])
        await self._store.delete_content(job.project, job.payload["content"])
        await self._deadlines.finish(lease)

    async def purge_vector_store_file(self, lease: Lease) -> None:
        """Run the purge job of a store's file: delete its chunks, unless the file is back."""
        job = lease.job
        if await self._store.get(Key(job.project, VECTOR_STORE_FILES, job.payload["id"])) is None:
            await self._store.delete_chunks(job.project, job.payload["vector_store"], job.payload["file"])
        await self._deadlines.finish(lease)

    # --- the operations of a change ---

    async def _filenames(self, project: str, attachments: Sequence[Attachment]) -> dict[str, str]:
        async def name(attachment: Attachment) -> tuple[str, str]:
            document = await self._files.get(project, attachment.file, attachment.param)
            return document.id, document.value["filename"]

        return dict(await _read_all(name, attachments))

    async def _present(self, store: Key, attachments: Sequence[Attachment]) -> dict[str, Document]:
        keys = [
            Key(store.project, VECTOR_STORE_FILES, vector_store_file_id(store.id, item.file))
            for item in attachments
        ]
        return {found.value["id"]: found for found in await _read_all(self._store.get, keys) if found}

    def _additions(
        self,
        store: Key,
        attachments: Sequence[Attachment],
        filenames: Mapping[str, str],
        present: Mapping[str, Document],
        batch: str | None,
    ) -> Additions:
        """Return what puts files into a store; this process holds the first job if it has room."""
        owner = self._jobs.owner if self._jobs.has_room(INGEST, store.project) else ""
        additions = Additions(store, batch, owner)
        for attachment in attachments:
            additions.add(attachment, filenames[attachment.file], present.get(attachment.file))
        return additions

    async def _batch_changes(self, project: str, batches: Counter[str]) -> list[Operation]:
        """Return the changes of batches that lose so many of their files in progress."""
        changes: list[Operation] = []
        for batch, number in batches.items():
            document = await self._store.get(Key(project, VECTOR_STORE_FILE_BATCHES, batch))
            if document is not None:
                changes.append(batch_change(document, "cancelled", number))
        return changes

    def _run_held(self, additions: Additions) -> None:
        if additions.held is not None:
            self._jobs.adopt(additions.held)

    async def _changes(
        self, store_files: Sequence[Document], outcome: Mapping[str, Any]
    ) -> list[Operation] | None:
        """Return what moves files of one store and batch out of progress; None if the store was deleted."""
        first = store_files[0]
        project, batch = first.key.project, first.state["batch"]
        store = await self._store.get(Key(project, VECTOR_STORES, first.parent))
        if store is None:
            return None
        status, number = outcome["status"], len(store_files)
        operations: list[Operation] = [
            Replace(store_file, value={**store_file.value, **outcome}, labels=labels(status, batch))
            for store_file in store_files
        ]
        counts = move_count(store.value["file_counts"], "in_progress", status, number)
        usage = store.value["usage_bytes"] + outcome.get("usage_bytes", 0)
        value = with_status({**store.value, "file_counts": counts, "usage_bytes": usage})
        operations.append(Replace(store, value=value))
        document = await self._store.get(Key(project, VECTOR_STORE_FILE_BATCHES, batch)) if batch else None
        if document is not None:
            operations.append(batch_change(document, status, number))
        return operations

    async def _detach(self, store_file: Document, file: str) -> Enqueue:
        """Take a file out of a store; return the purge job of its chunks, which this process holds."""
        project, vector_store = store_file.key.project, store_file.parent
        store = await self._store.get(Key(project, VECTOR_STORES, vector_store))
        link = await self._store.get(Key(project, FILE_VECTOR_STORES, store_file.id))
        purge = self._deadlines.purge(
            project, VECTOR_STORE_FILES, store_file.id, vector_store=vector_store, file=file
        )
        operations: list[Operation] = [Delete(store_file), purge]
        if link is not None:
            operations.append(Delete(link))
        if store is not None:
            counts = move_count(store.value["file_counts"], store_file.value["status"], None)
            usage = store.value["usage_bytes"] - store_file.value["usage_bytes"]
            value = with_status({**store.value, "file_counts": counts, "usage_bytes": usage})
            operations.append(Replace(store, value=value))
        operations += await self._batch_changes(project, _batches_in_progress([store_file]))
        await self._store.write(*operations)
        return purge


def _is_in(store_file: Document | None) -> bool:
    return store_file is not None and store_file.value["status"] in ("in_progress", "completed")


def _batches_in_progress(store_files: Sequence[Document]) -> Counter[str]:
    """Return the batches that wait for these files, each with the number of them."""
    return Counter(
        store_file.state["batch"]
        for store_file in store_files
        if store_file.state["batch"] and store_file.value["status"] == "in_progress"
    )


def _cancelled(batch: Document) -> Replace | None:
    if batch.value["status"] != "in_progress":
        return None
    return Replace(batch, value={**batch.value, "status": "cancelled"})
