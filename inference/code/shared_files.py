"""What becomes of the files and images that code makes: how an API shows them, and how answers cite them."""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from pathlib import PurePosixPath
from typing import Protocol

from inference.code.container_files import NewFile, below_folder
from inference.code.containers import Containers
from inference.code.errors import ContainerFileRefused
from inference.code.outputs import Image
from inference.gateway.driver import one_piece
from inference.identifiers import derived_id, new_id
from inference.retrieval.contents import write_unclaimed
from inference.retrieval.files import ASSISTANTS_OUTPUT, Files
from persistence.collections import FILES
from persistence.errors import AlreadyExists
from persistence.store import Document, Key, Store
from persistence.types import JSON

SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/gif": "gif", "image/webp": "webp"}

INLINE_IMAGE = 256 * 1024
"""Bytes of an image that a response's item holds itself; of a larger one it has the path."""

INLINE_IMAGES = 1024 * 1024
"""Bytes of all images that the items of a response hold: they are stored with it."""


class SharedFiles(Protocol):
    """The files of one container as the clients of one API know them."""

    async def know(self, container: Document) -> None:
        """Learn the files that the container has."""

    async def share(self, container: Document, written: Sequence[JSON]) -> None:
        """Share files (as `container.file`) that code has written just now."""

    async def keep_image(self, image: Image) -> JSON:
        """Store an image that code shows; return its entry in the outputs of the call."""

    def annotation(self, path: str) -> JSON | None:
        """Return the type's own members of a citation of a path below the folder, under the type."""


class ThreadFiles:
    """Shares files of a thread's container as files of their own, which outlive the container."""

    def __init__(self, store: Store, files: Files, project: str) -> None:
        self._store = store
        self._files = files
        self._project = project
        self._ids: dict[str, str] = {}

    async def know(self, container: Document) -> None:
        """Learn which of the container's files are shared already, or are copies of files."""
        entries: dict[str, JSON] = container.state["files"]
        known = set(self._ids.values())
        made = [path for path, entry in entries.items() if entry["origin"] is None]
        self._ids = {path: entry["origin"] for path, entry in entries.items() if entry["origin"] is not None}
        ids = {path: shared_id(entries[path]) for path in made}
        unknown = [id for id in ids.values() if id not in known]
        found = await asyncio.gather(*(self._store.get(Key(self._project, FILES, id)) for id in unknown))
        known |= {file.id for file in found if file is not None}
        self._ids |= {path: id for path, id in ids.items() if id in known}

    async def share(self, container: Document, written: Sequence[JSON]) -> None:
        """Copy files, each once in each of its versions."""
        for file in written:
            path = below_folder(file["path"])
            entry = container.state["files"].get(path)
            if entry is None:  # another call deleted it meanwhile
                continue
            id = shared_id(entry)
            pieces = self._store.read_content(self._project, entry["content"])
            await self._write(pieces, PurePosixPath(path).name, id)
            self._ids[path] = id

    async def keep_image(self, image: Image) -> JSON:
        """Store an image as a file."""
        id = new_id("file-")
        await self._write(one_piece(image.content), f"{id}.{SUFFIXES[image.content_type]}", id)
        return {"type": "image", "image": {"file_id": id}}

    def annotation(self, path: str) -> JSON | None:
        """Return a `file_path`."""
        id = self._ids.get(path)
        return None if id is None else {"type": "file_path", "file_path": {"file_id": id}}

    async def _write(self, pieces: AsyncIterator[bytes], filename: str, id: str) -> None:
        try:
            await self._files.write(
                self._project, pieces, filename=filename, purpose=ASSISTANTS_OUTPUT, id=id
            )
        except AlreadyExists:  # a worker that was lost has shared it
            return


def shared_id(entry: JSON) -> str:
    """Return the id of the file that shares this version of a container's file."""
    return derived_id("file-", entry["content"])


class ContainerFiles:
    """Leaves files in a response's container, where clients download them; shown images are put there."""

    def __init__(self, store: Store, containers: Containers, project: str, held: int) -> None:
        self._store = store
        self._containers = containers
        self._project = project
        self._container = ""
        self._ids: dict[str, str] = {}
        self._room = INLINE_IMAGES - held

    async def know(self, container: Document) -> None:
        """Learn the ids of the container's files."""
        self._container = container.id
        self._ids = {path: entry["id"] for path, entry in container.state["files"].items()}

    async def share(self, container: Document, written: Sequence[JSON]) -> None:  # noqa: ARG002
        """Note the new files."""
        self._ids |= {below_folder(file["path"]): file["id"] for file in written}

    async def keep_image(self, image: Image) -> JSON:
        """Put an image into the container; its entry is a data URL, or the path of a large one."""
        path = f"{new_id('image_')}.{SUFFIXES[image.content_type]}"
        try:
            file = await self._put(path, image.content)
        except ContainerFileRefused as exc:
            return {"type": "logs", "logs": f"[An image is not kept: {exc}]\n"}
        self._ids[path] = file["id"]
        url = f"/v1/containers/{self._container}/files/{file['id']}/content"
        if len(image.content) <= min(INLINE_IMAGE, self._room):
            self._room -= len(image.content)
            url = data_url(image.content_type, image.content)
        return {"type": "image", "url": url, "file": self._cited(path, file["id"])}

    async def _put(self, path: str, image: bytes) -> JSON:
        project, content = self._project, new_id("content_")
        await write_unclaimed(self._store, project, one_piece(image), id=content)
        new = NewFile(path, content, len(image), "assistant")
        records = self._containers.records
        _, [file] = await records.change_files(project, self._container, [new], even_late=True)
        return file

    def annotation(self, path: str) -> JSON | None:
        """Return a `container_file_citation`."""
        id = self._ids.get(path)
        if id is None:
            return None
        return {"type": "container_file_citation", "container_file_citation": self._cited(path, id)}

    def _cited(self, path: str, id: str) -> JSON:
        return {"container_id": self._container, "file_id": id, "filename": PurePosixPath(path).name}


def data_url(content_type: str, content: bytes) -> str:
    """Return bytes as a data URL."""
    return f"data:{content_type};base64,{base64.b64encode(content).decode()}"
