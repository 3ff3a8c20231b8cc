"""Takes a vector store's file from its bytes to searchable chunks: parse, cut, embed, store."""

import contextlib
import time
from collections.abc import Sequence

import structlog

from inference.errors import (
    DocumentError,
    InferenceError,
    ModelNotFound,
    ProviderError,
    ProviderRejected,
    ProviderUnreadable,
    SettingsNotKept,
)
from inference.jobs import Jobs
from inference.leases import Lease
from inference.parsing.chunking import Chunking
from inference.parsing.sandbox import Parsed, Sandbox
from inference.retrieval.attachments import INGEST, vector_store_file_id
from inference.retrieval.embedding import Embedder
from inference.retrieval.errors import ObjectNotFound
from inference.retrieval.files import declared_charset
from inference.retrieval.vector_store_files import VectorStoreFiles
from inference.retrieval.vector_stores import has_expired
from inference.sealing import Sealer
from persistence.collections import FILES, VECTOR_STORE_FILES, VECTOR_STORES
from persistence.errors import ContentNotFound, DimensionMismatch
from persistence.store import (
    Chunk,
    Document,
    Finish,
    Hold,
    Key,
    Reschedule,
    Store,
)
from persistence.types import JSON

CONCURRENCY = 8
"""Files that one worker ingests at once, half of them of one project; most of the time is spent embedding."""

EMBEDDED_BATCH = 128
"""Chunks of one request for embeddings, and of one write: some 100,000 tokens."""

PLAIN_BATCH = 256
"""Chunks of one write where there is nothing to embed."""

MAX_ATTEMPTS = 5
BACKOFF = 2.0
"""Seconds before the second attempt; each later one waits twice as long as the one before."""

VECTOR_BYTES = 4
"""Bytes of one number of a vector, as usage_bytes counts it."""

log = structlog.get_logger()


class Ingestion:
    """The worker of ingest jobs, one for each file of a vector store.

    A job ends in the write that stores the file's outcome and the counts. A killed worker's file is
    ingested again from the start by another; chunks with the same index are replaced. The job of a file
    that was removed meanwhile deletes its chunks.
    """

    def __init__(
        self,
        store: Store,
        jobs: Jobs,
        embedder: Embedder,
        vector_store_files: VectorStoreFiles,
        sandbox: Sandbox,
        sealer: Sealer,
        tenant: str,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._embedder = embedder
        self._vector_store_files = vector_store_files
        self._sandbox = sandbox
        self._sealer = sealer
        self._tenant = tenant
        jobs.register(INGEST, self._run, concurrency=CONCURRENCY, give_up=self._give_up, fair=True)

    async def _run(self, lease: Lease) -> None:
        # Each file asks for the next ones, so that a thousand small ones do not wait for as many polls.
        self._jobs.poll(INGEST)
        try:
            await self._ingest(lease)
        finally:
            self._jobs.poll(INGEST)

    async def _give_up(self, lease: Lease) -> None:
        """Mark a file as failed whose ingestion failed by a bug too often."""
        vector_store, file = lease.job.payload["vector_store"], lease.job.payload["file"]
        member = await self._store.get(
            Key(lease.job.project, VECTOR_STORE_FILES, vector_store_file_id(vector_store, file))
        )
        if member is None or member.value["status"] != "in_progress":
            await self._abandon(lease, member)
            return
        await self._conclude(lease, member, _failed("server_error", "The server failed to read the file."))

    async def _ingest(self, lease: Lease) -> None:
        project = lease.job.project
        vector_store, file = lease.job.payload["vector_store"], lease.job.payload["file"]
        member = await self._store.get(
            Key(project, VECTOR_STORE_FILES, vector_store_file_id(vector_store, file))
        )
        store = await self._store.get(Key(project, VECTOR_STORES, vector_store))
        document = await self._store.get(Key(project, FILES, file))
        if member is None or store is None or member.value["status"] != "in_progress" or has_expired(store):
            await self._abandon(lease, member)
            return
        if document is None:
            with contextlib.suppress(ObjectNotFound):
                await self._vector_store_files.detach(project, vector_store, file)
            await self._abandon(lease, None)
            return
        try:
            outcome = await self._outcome(lease, member, store, document)
        except InferenceError as exc:
            if not _is_permanent(exc) and lease.job.payload.get("attempts", 0) + 1 < MAX_ATTEMPTS:
                await self._retry_later(lease, exc)
                return
            outcome = _failure(exc)
        await self._conclude(lease, member, outcome)

    async def _outcome(self, lease: Lease, member: Document, store: Document, document: Document) -> JSON:
        """Ingest a file; return its status, usage_bytes and last_error; raise InferenceError."""
        static = member.value["chunking_strategy"]["static"]
        chunking = Chunking(static["max_chunk_size_tokens"], static["chunk_overlap_tokens"])
        source = self._store.read_content(member.key.project, document.state["content"])
        try:
            parsed = await self._sandbox.parse(
                self._tenant or lease.job.project,
                source,
                document.value["filename"],
                chunking,
                charset=declared_charset(document),
            )
        except ContentNotFound as exc:
            raise DocumentError("The file's content is missing.", code="invalid_file") from exc
        try:
            usage = await self._store_chunks(lease, member, store.state["embedding_model"], parsed)
        except DimensionMismatch as exc:
            raise DocumentError(
                "The embedding model's vectors are not of the length of those in the vector store.",
                code="server_error",
            ) from exc
        finally:
            parsed.close()
        return {"status": "completed", "usage_bytes": usage, "last_error": None}

    async def _store_chunks(self, lease: Lease, member: Document, model: str | None, parsed: Parsed) -> int:
        """Store the chunks; return how many bytes they take."""
        project, vector_store, file = member.key.project, member.parent, member.value["id"]
        batch = EMBEDDED_BATCH if model else PLAIN_BATCH
        caller = self._sealer.open(project, lease.job.payload)
        credentials = None if caller is None else caller.embedding
        usage = 0
        for start in range(0, len(parsed.spans), batch):
            texts = parsed.chunks(start, start + batch)
            vectors = await self._embedder.embed(model, texts, credentials) if model else [None] * len(texts)
            chunks = [
                Chunk(start + n, text, vector)
                for n, (text, vector) in enumerate(zip(texts, vectors, strict=True))
            ]
            await self._store.write(Hold(lease.job))
            if start == 0:  # An earlier attempt, or other chunking, may have left more chunks.
                await self._store.delete_chunks(project, vector_store, file)
            await self._store.put_chunks(project, vector_store, file, chunks, member.value["attributes"])
            usage += sum(_bytes(chunk) for chunk in chunks)
        return usage

    async def _conclude(self, lease: Lease, member: Document, outcome: JSON) -> None:
        project, vector_store, file = lease.job.project, member.parent, member.value["id"]
        settled = await self._vector_store_files.settle(lease, vector_store, file, outcome)
        if settled is None:
            await self._abandon(lease, await self._store.get(member.key))
            return
        log.info("file_ingested", vector_store=vector_store, file=file, status=outcome["status"])
        current, store = settled
        if outcome["status"] != "completed" or has_expired(store):
            await self._delete_chunks(project, vector_store, file, store)
        elif current.value["attributes"] != member.value["attributes"]:
            await self._store.set_attributes(project, vector_store, file, current.value["attributes"])

    async def _abandon(self, lease: Lease, member: Document | None) -> None:
        """End a job whose file is no longer wanted; delete what it stored."""
        job = lease.job
        vector_store, file = job.payload["vector_store"], job.payload["file"]
        await self._store.write(Hold(job))
        if member is None or member.value["status"] != "completed":
            store = await self._store.get(Key(job.project, VECTOR_STORES, vector_store))
            await self._delete_chunks(job.project, vector_store, file, store)
        await self._store.write(Finish(lease.job))

    async def _delete_chunks(
        self, project: str, vector_store: str, file: str, store: Document | None
    ) -> None:
        await self._store.delete_chunks(project, vector_store, file if store is not None else None)

    async def _retry_later(self, lease: Lease, reason: InferenceError) -> None:
        attempts = lease.job.payload.get("attempts", 0) + 1
        delay = BACKOFF * 2 ** (attempts - 1)
        log.warning("ingestion_delayed", file=lease.job.payload["file"], seconds=delay, reason=str(reason))
        payload = {**lease.job.payload, "attempts": attempts}
        await self._store.write(Reschedule(lease.job, time.time() + delay, payload))


def _is_permanent(error: InferenceError) -> bool:
    """Return whether trying again cannot help."""
    if isinstance(error, DocumentError):
        return error.code != "server_error"
    return isinstance(error, (ModelNotFound, ProviderRejected, ProviderUnreadable, SettingsNotKept))


def _failure(error: InferenceError) -> JSON:
    if isinstance(error, DocumentError):
        return _failed(error.code, error.message)
    if isinstance(error, ProviderError):
        return _failed("server_error", f"The text could not be embedded: {error.message}")
    return _failed("server_error", f"The text could not be embedded: {error}")


def _failed(code: str, message: str) -> JSON:
    return {"status": "failed", "usage_bytes": 0, "last_error": {"code": code, "message": message}}


def _bytes(chunk: Chunk) -> int:
    vector: Sequence[float] = chunk.vector or ()
    return len(chunk.text.encode()) + VECTOR_BYTES * len(vector)
