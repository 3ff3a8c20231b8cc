"""Loads objects of another server into a store. What is there already stays as it is."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from inference.retrieval.attachments import INGEST, vector_store_file_id
from inference.retrieval.counts import empty_counts
from inference.retrieval.deadlines import Deadlines
from inference.retrieval.vector_stores import with_status
from inference.transfer.records import (
    BrokenRecord,
    answered,
    complete,
    document,
    file_document,
    parent_key,
    position,
    vector_store_documents,
)
from persistence.collections import FILES, VECTOR_STORE_FILES, VECTOR_STORES
from persistence.errors import DocumentTooLarge
from persistence.store import Document, FileChunks, Job, Key, Store
from persistence.types import JSON

BATCH = 100
"""Documents that are written together."""

Check = Callable[[str, JSON], None]
"""Raises BrokenRecord if an object of that kind does not fit the edition."""


@dataclass(slots=True)
class Report:
    """What became of the records, by kind; `broken` has a line for each that was left out."""

    imported: Counter[str] = field(default_factory=Counter)
    present: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def add_broken(self, kind: str, key: str, reason: object) -> None:
        """Add a line for a record that was left out."""
        self.broken.append(f"{kind} {key}: {reason}")


@dataclass(frozen=True, slots=True)
class StoreFile:
    """A file of a vector store; with `chunks` it is searched at once, without it is ingested again."""

    record: Any
    chunks: Callable[[], AsyncIterator[FileChunks]] | None = None


class Loader:
    """Loads records in the order of `records.KINDS`, so that each finds what it belongs to.

    It may be run again after an interruption, also while servers use the store.
    """

    def __init__(
        self, store: Store, project: str, check: Check, progress: Callable[[Counter[str]], None]
    ) -> None:
        self._store = store
        self._project = project
        self._check = check
        self._progress = progress
        self.report = Report()

    async def load(self, kind: str, records: Sequence[Any]) -> None:
        """Load objects that are neither files nor in vector stores, in the order of their list."""
        built = [one for record in records if (one := self._built(kind, record)) is not None]
        parents = {key for value in built if (key := parent_key(self._project, kind, value))}
        missing = parents - {found.key for found in await self._found(parents)}
        kept = []
        for value in built:
            parent = parent_key(self._project, kind, value)
            if parent in missing:
                self.report.add_broken(kind, value["id"], f"its object '{parent.id}' is missing")
            else:
                kept.append(document(self._project, kind, value))
        await self._load_new(kind, kept)

    async def load_file(self, record: Any, pieces: AsyncIterator[bytes] | None) -> None:
        """Load a file with its bytes."""
        value = self._built("files", record)
        if value is None:
            return
        key = Key(self._project, FILES, value["id"])
        if await self._store.get(key) is not None:
            self._count("files", present=1)
            return
        if pieces is None:
            self.report.add_broken("files", value["id"], "its content is not there")
            return
        content = f"imported-{value['id']}"
        size = await self._store.write_content(self._project, content, pieces)
        await self._store.load([file_document(self._project, value, content, size)])
        await self._expire(key, value)
        self._count("files", imported=1)

    async def load_vector_store(self, record: Any, model: str | None, files: Iterable[StoreFile]) -> None:
        """Load a vector store, which is searched with the vectors of `model`, and its files.

        Files without chunks are ingested by the next server that uses the store.
        """
        value = self._built("vector_stores", record)
        if value is None:
            return
        key = Key(self._project, VECTOR_STORES, value["id"])
        present = await self._store.get(key) is not None
        counts, usage, jobs, batch = empty_counts(), 0, [], []
        for file in files:
            built = await self._store_file(value, file)
            if built is None:
                continue
            self._count("vector_store_files", imported=int(not present), present=int(present))
            if built[0].value["status"] == "in_progress":
                jobs.append(built[0])
            if present:
                continue
            if file.chunks is not None:
                built[0].value["usage_bytes"] = await self._load_chunks(file.chunks())
            counts[built[0].value["status"]] += 1
            counts["total"] += 1
            usage += built[0].value["usage_bytes"]
            batch += built
            if len(batch) >= BATCH:
                await self._store.load(batch)
                batch = []
        if not present:
            shown = with_status({**value, "file_counts": counts, "usage_bytes": usage})
            state = {"embedding_model": model}
            batch.append(Document(key, shown, state, position=position(value)))
            await self._store.load(batch)
            await self._expire(key, value)
        await self._ingest(jobs)
        self._count("vector_stores", imported=int(not present), present=int(present))

    async def _store_file(self, store: JSON, file: StoreFile) -> list[Document] | None:
        value = self._built("vector_store_files", file.record)
        if value is None:
            return None
        uploaded = await self._store.get(Key(self._project, FILES, value["id"]))
        if uploaded is None or value["vector_store_id"] != store["id"]:
            name = f"{store['id']}/{value['id']}"
            self.report.add_broken("vector_store_files", name, "its file is missing")
            return None
        searched = value["status"] in ("completed", "in_progress") and store["status"] != "expired"
        if searched and file.chunks is None:
            value |= {"status": "in_progress", "usage_bytes": 0}
        return vector_store_documents(self._project, value, uploaded.value["filename"])

    async def _load_chunks(self, chunks: AsyncIterator[FileChunks]) -> int:
        """Load a file's chunks; return how many bytes their texts and vectors have."""
        usage = 0
        async for some in chunks:
            await self._store.load([some])
            usage += sum(len(each.text.encode()) + 4 * len(each.vector or ()) for each in some.chunks)
        return usage

    async def _ingest(self, documents: Sequence[Document]) -> None:
        """Enqueue the ingestion of files that are in progress in the store."""
        for start in range(0, len(documents), BATCH):
            some = documents[start : start + BATCH]
            found = await self._found({each.key for each in some})
            await self._store.load(
                [
                    Job(
                        self._project,
                        INGEST,
                        vector_store_file_id(each.parent, each.value["id"]),
                        time.time(),
                        payload={"vector_store": each.parent, "file": each.value["id"]},
                    )
                    for each in found
                    if each.key.collection == VECTOR_STORE_FILES and each.value["status"] == "in_progress"
                ]
            )

    def _built(self, kind: str, record: Any) -> JSON | None:
        try:
            value = complete(kind, record)
            self._check(kind, answered(kind, value))
        except BrokenRecord as exc:
            self._broken(kind, record, exc)
        except (AttributeError, TypeError, KeyError, ValueError) as exc:
            self._broken(kind, record, f"has a field of another form: {exc!r}")
        else:
            return value
        return None

    def _broken(self, kind: str, record: Any, reason: object) -> None:
        id = record.get("id") if isinstance(record, dict) else None
        self.report.add_broken(kind, str(id or record)[:80], reason)

    async def _found(self, keys: Iterable[Key]) -> list[Document]:
        found = await asyncio.gather(*map(self._store.get, keys))
        return [each for each in found if each is not None]

    async def _load_new(self, kind: str, documents: Sequence[Document]) -> None:
        for start in range(0, len(documents), BATCH):
            some = documents[start : start + BATCH]
            present = {each.key for each in await self._found({each.key for each in some})}
            new = {each.key: each for each in some if each.key not in present}
            loaded = await self._load_all(kind, list(new.values()))
            self._count(kind, imported=loaded, present=len(some) - len(new))

    async def _load_all(self, kind: str, documents: Sequence[Document]) -> int:
        """Load documents, but for those that are too large; return how many were loaded."""
        try:
            await self._store.load(documents)
        except DocumentTooLarge as exc:
            if len(documents) > 1:
                return sum([await self._load_all(kind, [each]) for each in documents])
            self.report.add_broken(kind, documents[0].value["id"], exc)
            return 0
        return len(documents)

    async def _expire(self, key: Key, value: JSON) -> None:
        if value["expires_at"] is not None:
            await self._store.load([Deadlines.expire_at(*key, value["expires_at"]).job])

    def _count(self, kind: str, *, imported: int = 0, present: int = 0) -> None:
        self.report.imported[kind] += imported
        self.report.present[kind] += present
        self._progress(self.report.imported + self.report.present)
