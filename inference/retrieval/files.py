"""Uploaded files: each is a document, whose bytes are a content of the store."""

import time
from collections.abc import AsyncIterator, Mapping
from email.message import Message
from typing import Any

from inference.identifiers import new_id
from inference.leases import Lease
from inference.retrieval.contents import claim, write_unclaimed
from inference.retrieval.deadlines import Deadlines
from inference.retrieval.errors import RequestRefused, no_such_file
from persistence.collections import FILES
from persistence.errors import VersionConflict
from persistence.retry import retry_on_conflict
from persistence.store import Delete, Document, Enqueue, Finish, Insert, Key, Operation, Store
from persistence.types import JSON

ASSISTANTS_OUTPUT = "assistants_output"
"""The purpose of files that a run makes."""

EMBEDDING_MODEL = "embedding_model"
"""Member of a file's state."""


def purpose_label(purpose: str) -> str:
    """Return the label of the files of one purpose."""
    return f"purpose:{purpose}"


def declared_charset(file: Document) -> str:
    """Return the charset that the upload of a file declared, or an empty string."""
    header = Message()
    header["Content-Type"] = file.state["media_type"]
    return header.get_content_charset("")


class Files:
    """The files of all projects.

    `download_assistants_files` says whether files of the purpose assistants can be read back;
    OpenAI's cannot.
    """

    def __init__(self, store: Store, deadlines: Deadlines, *, download_assistants_files: bool = True) -> None:
        self._store = store
        self._deadlines = deadlines
        self._download_assistants_files = download_assistants_files

    async def get(self, project: str, file: str, param: str = "id") -> Document:
        """Return the file's document; raise ObjectNotFound, naming `param`."""
        document = await self._store.get(Key(project, FILES, file))
        if document is None:
            raise no_such_file(file, param)
        return document

    async def create(
        self,
        project: str,
        *,
        content: str,
        filename: str,
        size: int,
        purpose: str,
        media_type: str = "",
        expires_after: Mapping[str, Any] | None = None,
        embedding_model: str | None = None,
    ) -> Document:
        """Create a file of a content that is already in the store."""
        operations = self.creation(
            project,
            content=content,
            filename=filename,
            size=size,
            purpose=purpose,
            media_type=media_type,
            expires_after=expires_after,
            embedding_model=embedding_model,
        )
        return (await self._store.write(*operations))[0]

    async def write(
        self, project: str, pieces: AsyncIterator[bytes], *, filename: str, purpose: str, id: str
    ) -> Document:
        """Create a file of bytes that are not in the store yet; AlreadyExists if the id is taken."""
        content = new_id("content_")
        size = await write_unclaimed(self._store, project, pieces, id=content)
        operations = self.creation(
            project, content=content, filename=filename, size=size, purpose=purpose, id=id
        )
        return (await self._store.write(*operations))[0]

    def creation(
        self,
        project: str,
        *,
        content: str,
        filename: str,
        size: int,
        purpose: str,
        media_type: str = "",
        expires_after: Mapping[str, Any] | None = None,
        embedding_model: str | None = None,
        id: str | None = None,
    ) -> list[Operation]:
        """Return the operations that create a file; the first is its Insert.

        `embedding_model` is shown, and is what the caller wants the file's vector stores to use. Without an
        `id` the file gets a new one.
        """
        created_at = int(time.time())
        value: JSON = {
            "id": id or new_id("file-"),
            "object": "file",
            "purpose": purpose,
            "filename": filename,
            "bytes": size,
            "created_at": created_at,
            "expires_at": created_at + expires_after["seconds"] if expires_after else None,
            "status": "processed",
            "status_details": None,
        }
        if embedding_model:
            value[EMBEDDING_MODEL] = embedding_model
        operations: list[Operation] = [
            Insert(
                Key(project, FILES, value["id"]),
                value,
                state={"content": content, "media_type": media_type},
                labels=frozenset({purpose_label(purpose)}),
            ),
            claim(project, content),
        ]
        if value["expires_at"]:
            operations.append(self._deadlines.expire_at(project, FILES, value["id"], value["expires_at"]))
        return operations

    async def delete(self, project: str, file: str) -> None:
        """Delete a file, its bytes and its chunks in vector stores; raise ObjectNotFound."""

        async def attempt() -> Enqueue:
            document = await self.get(project, file)
            purge = self._deadlines.purge(project, FILES, file, content=document.state["content"])
            await self._store.write(
                Delete(document), self._deadlines.cancel_expiry(project, FILES, file), purge
            )
            return purge

        await self._deadlines.run(await retry_on_conflict(attempt))

    def read(self, document: Document, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes of a file from `start` up to `end`, in pieces."""
        return self._store.read_content(document.key.project, document.state["content"], start, end)

    def check_download(self, document: Document) -> None:
        """Raise RequestRefused if the file's purpose does not allow downloads (see the class)."""
        purpose = document.value["purpose"]
        if purpose == "assistants" and not self._download_assistants_files:
            raise RequestRefused(f"Not allowed to download files of purpose: {purpose}")

    async def expire(self, lease: Lease) -> None:
        """Run a file's expire job."""
        job = lease.job
        document = await self._store.get(Key(job.project, FILES, job.payload["id"]))
        if document is None:
            await self._deadlines.finish(lease)
            return
        purge = self._deadlines.purge(job.project, FILES, document.id, content=document.state["content"])
        try:
            await self._store.write(Delete(document), Finish(job), purge)
        except VersionConflict:  # It was deleted just now, and its expire job with it.
            return
        self._deadlines.run_in_background(purge)
