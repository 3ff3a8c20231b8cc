"""The documents of vector stores' files, and the operations that add some."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inference.jobs import LEASE_SECONDS
from inference.parsing.chunking import AUTO, Chunking
from inference.retrieval.counts import move_count
from persistence.collections import FILE_VECTOR_STORES, VECTOR_STORE_FILES
from persistence.store import (
    Attributes,
    Document,
    Enqueue,
    Insert,
    Job,
    Key,
    Operation,
    Replace,
)
from persistence.types import JSON

INGEST = "ingest"

BATCH_OBJECT = "vector_store.files_batch"
"""As the editions and every SDK's types have it, which strict clients hold answers against; OpenAI's
service was seen to answer `vector_store.file_batch`."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file to put into a store; `param` is the request's field that names it.

    `caller` is a part of the job's payload: the sealed provider settings of the caller.
    """

    file: str
    attributes: Attributes = field(default_factory=dict)
    chunking: Chunking = AUTO
    param: str = "file_id"
    caller: JSON = field(default_factory=dict)


def vector_store_file_id(vector_store: str, file: str) -> str:
    """Return the id of the document of a file in a store: a file can be in many stores."""
    return f"{vector_store}:{file}"


def status_label(status: str, batch: str | None = None) -> str:
    """Return the label of the files of one status, in a store or in one of its batches."""
    return f"{batch or 'status'}:{status}"


def labels(status: str, batch: str | None) -> frozenset[str]:
    """Return the labels of a file with that status, and of its batch if it has one."""
    if batch is None:
        return frozenset({status_label(status)})
    return frozenset({status_label(status), batch, status_label(status, batch)})


@dataclass(slots=True)
class Additions:
    """The operations that put files into one store; `owner` holds the first job ("": nobody does)."""

    store: Key
    batch: str | None
    owner: str
    operations: list[Operation] = field(default_factory=list)
    replaced: list[Document] = field(default_factory=list)
    held: Job | None = None
    number: int = 0

    def add(self, attachment: Attachment, filename: str, previous: Document | None) -> None:
        """Add a file, or ingest again one that is in the store already."""
        now = time.time()
        key = Key(
            self.store.project, VECTOR_STORE_FILES, vector_store_file_id(self.store.id, attachment.file)
        )
        value = self._value(attachment, int(now))
        state, marks = {"batch": self.batch, "filename": filename}, labels("in_progress", self.batch)
        if previous is None:
            self.operations += (
                Insert(key, value, state=state, parent=self.store.id, labels=marks),
                Insert(
                    Key(self.store.project, FILE_VECTOR_STORES, key.id),
                    {"vector_store_id": self.store.id},
                    parent=attachment.file,
                ),
            )
        else:
            self.replaced.append(previous)
            self.operations.append(Replace(previous, value=value, state=state, labels=marks))
        self.number += 1
        self.operations.append(Enqueue(self._job(key, attachment, now)))

    def apply_counts(self, value: Mapping[str, Any]) -> JSON:
        """Return the store's object with these files in progress."""
        counts, usage = value["file_counts"], value["usage_bytes"]
        for previous in self.replaced:
            counts = move_count(counts, previous.value["status"], None)
            usage -= previous.value["usage_bytes"]
        counts = move_count(counts, None, "in_progress", self.number)
        return {**value, "file_counts": counts, "usage_bytes": usage}

    def _value(self, attachment: Attachment, now: int) -> JSON:
        return {
            "id": attachment.file,
            "object": "vector_store.file",
            "usage_bytes": 0,
            "created_at": now,
            "vector_store_id": self.store.id,
            "status": "in_progress",
            "last_error": None,
            "chunking_strategy": attachment.chunking.rendered(),
            "attributes": dict(attachment.attributes),
        }

    def _job(self, store_file: Key, attachment: Attachment, now: float) -> Job:
        payload = {"vector_store": self.store.id, "file": attachment.file, **attachment.caller}
        if self.held is not None or not self.owner:
            return Job(store_file.project, INGEST, store_file.id, now, payload=payload)
        due = now + LEASE_SECONDS
        self.held = Job(store_file.project, INGEST, store_file.id, due, owner=self.owner, payload=payload)
        return self.held


def batch_change(batch: Document, status: str, number: int) -> Replace:
    """Return the change of a batch of which `number` files moved from in_progress to `status`."""
    counts = move_count(batch.value["file_counts"], "in_progress", status, number)
    value = {**batch.value, "file_counts": counts}
    if not counts["in_progress"] and value["status"] == "in_progress":
        value["status"] = "failed" if counts["failed"] == counts["total"] else "completed"
    return Replace(batch, value=value)


def unique(attachments: Sequence[Attachment]) -> list[Attachment]:
    """Return each file once; the last entry of an id counts."""
    return list({attachment.file: attachment for attachment in attachments}.values())
