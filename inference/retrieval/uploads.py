"""Uploads: a file that comes in parts, in parallel and in any order."""

import hashlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from inference.identifiers import new_id
from inference.leases import Lease
from inference.retrieval.contents import claim
from inference.retrieval.deadlines import Deadlines
from inference.retrieval.errors import ObjectNotFound, RequestRefused
from inference.retrieval.files import Files
from persistence.collections import UPLOAD_PARTS, UPLOADS
from persistence.errors import ContentNotFound
from persistence.listing import pages
from persistence.retry import retry_on_conflict, update_with_retry
from persistence.store import (
    Check,
    Clear,
    Document,
    Finish,
    Insert,
    Key,
    Operation,
    Replace,
    Store,
)
from persistence.types import JSON

LIFETIME = 3600
MAX_PART = 64 * 1024 * 1024
"""Bytes of a part; a larger one is refused while it arrives."""

MAX_UPLOAD = 8 * 1024**3


class Uploads:
    """The uploads of all projects.

    The parts of a completed upload are copied into the file's content and deleted. The parts of an
    upload that was cancelled or has expired (after an hour) are deleted too.
    """

    def __init__(self, store: Store, deadlines: Deadlines, files: Files) -> None:
        self._store = store
        self._deadlines = deadlines
        self._files = files

    async def get(self, project: str, upload: str) -> Document:
        """Return the upload's document; raise ObjectNotFound."""
        document = await self._store.get(Key(project, UPLOADS, upload))
        if document is None:
            raise ObjectNotFound(f"No such Upload object: {upload}", param="upload_id")
        return document

    async def create(
        self,
        project: str,
        *,
        filename: str,
        purpose: str,
        size: int,
        media_type: str,
        expires_after: Mapping[str, Any] | None = None,
    ) -> JSON:
        """Create an upload of `size` bytes; raise RequestRefused if that is negative or over MAX_UPLOAD."""
        if not 0 <= size <= MAX_UPLOAD:
            raise RequestRefused(
                f"Invalid 'bytes': expected a value between 0 and {MAX_UPLOAD}, but got {size} instead.",
                param="bytes",
                code="invalid_value",
            )
        created_at = int(time.time())
        value: JSON = {
            "id": new_id("upload_"),
            "object": "upload",
            "bytes": size,
            "created_at": created_at,
            "filename": filename,
            "purpose": purpose,
            "status": "pending",
            "expires_at": created_at + LIFETIME,
        }
        state = {"media_type": media_type, "expires_after": dict(expires_after) if expires_after else None}
        await self._store.write(
            Insert(Key(project, UPLOADS, value["id"]), value, state=state),
            self._deadlines.expire_at(project, UPLOADS, value["id"], value["expires_at"]),
        )
        return value

    async def add_part(self, project: str, upload: str, *, content: str, size: int) -> JSON:
        """Add a part, whose content is already in the store."""
        value: JSON = {
            "id": new_id("part_"),
            "object": "upload.part",
            "created_at": int(time.time()),
            "upload_id": upload,
        }
        state = {"content": content, "bytes": size}
        insert = Insert(Key(project, UPLOAD_PARTS, value["id"]), value, state=state, parent=upload)

        async def attempt() -> None:
            document = _pending(await self.get(project, upload), "accept parts")
            await self._store.write(Check(document), insert, claim(project, content))

        await retry_on_conflict(attempt)
        return value

    async def complete(
        self, project: str, upload: str, *, parts: Sequence[str], md5: str | None = None
    ) -> JSON:
        """Create a file of the parts in the given order; return the upload with its file.

        Raises RequestRefused if a part is missing or named twice, or if the size or the MD5
        (hexadecimal) is not the announced one.
        """
        document = _pending(await self.get(project, upload), "be completed")
        contents = await self._contents(document, parts)
        content = new_id("content_")
        # Noted before it is written, so that an unfinished copy is deleted with the upload.
        document = await self._note_copy(document, content)
        digest = hashlib.md5(usedforsecurity=False)
        try:
            await self._store.write_content(project, content, self._joined(project, contents, digest))
        except ContentNotFound:  # another request has completed the upload, and its parts are deleted
            _pending(await self.get(project, upload), "be completed")
            raise
        if md5 is not None and md5.lower() != digest.hexdigest():
            await self._store.delete_content(project, content)
            raise RequestRefused(
                "The file's MD5 is not the one that was given.", param="md5", code="checksum_mismatch"
            )
        return await self._finish(document.key, content)

    async def cancel(self, project: str, upload: str) -> JSON:
        """Cancel an upload and delete its parts."""
        purge = self._deadlines.purge(project, UPLOADS, upload)

        async def attempt() -> Document:
            document = _pending(await self.get(project, upload), "be cancelled")
            written = await self._store.write(
                Replace(document, value={**document.value, "status": "cancelled"}),
                self._deadlines.cancel_expiry(project, UPLOADS, upload),
                purge,
            )
            return written[0]

        cancelled = await retry_on_conflict(attempt)
        await self._deadlines.run(purge)
        return cancelled.value

    async def expire(self, lease: Lease) -> None:
        """Run an upload's expire job."""
        job = lease.job
        document = await self._store.get(Key(job.project, UPLOADS, job.payload["id"]))
        if document is None or document.value["status"] != "pending":
            await self._deadlines.finish(lease)
            return
        purge = self._deadlines.purge(job.project, UPLOADS, document.id)
        await self._store.write(
            Replace(document, value={**document.value, "status": "expired"}), Finish(job), purge
        )
        self._deadlines.run_in_background(purge)

    async def purge(self, lease: Lease) -> None:
        """Run an upload's purge job: delete its parts, and copies that were not used."""
        project, upload = lease.job.project, lease.job.payload["id"]
        async for parts in pages(self._store, project, UPLOAD_PARTS, upload):
            for part in parts:
                await self._store.delete_content(project, part.state["content"])
        document = await self._store.get(Key(project, UPLOADS, upload))
        for copy in document.state.get("copies", ()) if document else ():
            if document and copy != document.state.get("content"):
                await self._store.delete_content(project, copy)
        await self._store.write(Clear(project, UPLOAD_PARTS, upload), Finish(lease.job))

    async def _contents(self, document: Document, parts: Sequence[str]) -> list[str]:
        """Return the contents of the parts; raise RequestRefused unless all exist and have the right size."""
        if len(set(parts)) < len(parts):
            raise RequestRefused("Each part may be named once.", param="part_ids", code="duplicate_part")
        documents = []
        for number, part in enumerate(parts):
            found = await self._store.get(Key(document.key.project, UPLOAD_PARTS, part))
            if found is None or found.parent != document.id:
                raise RequestRefused(
                    f"No part with id '{part}' belongs to upload '{document.id}'.",
                    param=f"part_ids[{number}]",
                    code="part_not_found",
                )
            documents.append(found)
        size = sum(part.state["bytes"] for part in documents)
        if size != document.value["bytes"]:
            raise RequestRefused(
                f"The parts have {size} bytes together, but {document.value['bytes']} were announced.",
                param="part_ids",
                code="bytes_mismatch",
            )
        return [part.state["content"] for part in documents]

    async def _note_copy(self, document: Document, content: str) -> Document:
        def note(current: Document) -> Replace:
            _pending(current, "be completed")
            copies = [*current.state.get("copies", ()), content]
            return Replace(current, state={**current.state, "copies": copies})

        noted = await update_with_retry(self._store, document.key, note)
        if noted is None:
            raise ObjectNotFound(f"No such Upload object: {document.id}", param="upload_id")
        return noted

    async def _joined(self, project: str, contents: Sequence[str], digest: Any) -> AsyncIterator[bytes]:
        for content in contents:
            async for piece in self._store.read_content(project, content):
                digest.update(piece)
                yield piece

    async def _finish(self, key: Key, content: str) -> JSON:
        purge = self._deadlines.purge(key.project, UPLOADS, key.id)

        async def attempt() -> Document:
            document = await self.get(key.project, key.id)
            if document.value["status"] != "pending":
                await self._store.delete_content(key.project, content)
            _pending(document, "be completed")
            creation = self._creation(document, content)
            file = creation[0].value if isinstance(creation[0], Insert) else {}
            replace = Replace(
                document,
                value={**document.value, "status": "completed", "file": file},
                state={**document.state, "content": content},
            )
            return (await self._store.write(replace, *creation, self._deadlines.cancel_expiry(*key), purge))[
                0
            ]

        completed = await retry_on_conflict(attempt)
        await self._deadlines.run(purge)
        return completed.value

    def _creation(self, document: Document, content: str) -> list[Operation]:
        value, state = document.value, document.state
        return self._files.creation(
            document.key.project,
            content=content,
            filename=value["filename"],
            size=value["bytes"],
            purpose=value["purpose"],
            media_type=state["media_type"],
            expires_after=state["expires_after"],
        )


def _pending(document: Document, what: str) -> Document:
    """Return the document; raise RequestRefused if the upload has ended and cannot `what`."""
    status = document.value["status"]
    if status != "pending" or document.value["expires_at"] <= time.time():
        status = "expired" if status == "pending" else status
        raise RequestRefused(
            f"Upload '{document.id}' is {status} and cannot {what}.", param="upload_id", code="invalid_status"
        )
    return document
