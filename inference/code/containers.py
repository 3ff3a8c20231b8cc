"""Containers: create, use, fill and delete them, and let them expire.

A container is a document, and its files are documents with contents: they outlive every worker. Its sandbox
is a cache, which one worker has.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Sequence

from inference.code.container_files import (
    MAX_BYTES,
    NewFile,
    below_folder,
    checked_path,
    file_changes,
    file_key,
    path_of,
)
from inference.code.container_records import ContainerRecords, expires_at
from inference.code.driver import SandboxUnavailable
from inference.code.errors import ContainerFileRefused
from inference.code.kernels import Kernels
from inference.code.relay import KernelServer, WorkerLost, close_there, run_there
from inference.code.sandboxes import Sandboxes
from inference.code.sessions import CodeResult, CodeRunner, KernelMoved, OnOutput
from inference.identifiers import new_id
from inference.leases import Lease
from inference.retrieval.contents import write_unclaimed
from inference.retrieval.deadlines import Deadlines
from inference.retrieval.errors import ObjectNotFound, RetrievalError, no_such_file
from inference.retrieval.files import Files
from persistence.collections import CONTAINER_FILES, CONTAINERS
from persistence.errors import AlreadyExists, ContentNotFound, StoreError
from persistence.retry import retry_on_conflict
from persistence.store import (
    Clear,
    Delete,
    Document,
    Enqueue,
    Finish,
    Insert,
    Key,
    Replace,
    Reschedule,
    Store,
)
from persistence.types import JSON

EXPIRES_MINUTES = 20

MOST_MOVES = 5
"""Times that a call follows a sandbox to another worker."""

TEND_SECONDS = 30.0
"""Seconds between two looks for sandboxes whose containers are gone or have expired."""

KEPT_SECONDS = 30 * 86_400.0
"""Seconds for which the object of an expired container is kept."""


def name_label(name: str) -> str:
    """Return the label of the containers of one name."""
    return f"name:{name}"


EMPTY: JSON = {"files": {}, "copied": [], "kernel": None}
"""The private state of a container without files and sandbox."""


class Containers:
    """The containers of all projects; `kernels` are this worker's sandboxes."""

    def __init__(self, store: Store, deadlines: Deadlines, files: Files, kernels: Kernels) -> None:
        self._store = store
        self._deadlines = deadlines
        self._files = files
        self.kernels = kernels
        self.records = ContainerRecords(store)
        self._runner = CodeRunner(store, self.records, kernels)
        self._server = KernelServer(self._runner.run, self._close_kernel)
        self._tending: asyncio.Task[None] | None = None
        deadlines.register(CONTAINERS, expire=self._expire, purge=self._purge)

    @property
    def sandboxes(self) -> Sandboxes:
        """What starts the sandboxes, and knows why it cannot."""
        return self.kernels.sandboxes

    @property
    def token(self) -> str:
        """What names this worker in the state of containers, new with each start."""
        return self._runner.token

    async def open(self) -> None:
        """Take a name of this worker's own, which no earlier process had, and listen for other workers."""
        self._runner.token = secrets.token_hex(32)
        self._runner.socket = await self._server.open(self.token)
        self._tending = asyncio.create_task(self._tend())

    async def close(self) -> None:
        """End the sandboxes of these containers in this worker; call it after the jobs have stopped."""
        if self._tending is not None:
            self._tending.cancel()
        await self._server.close()
        await self.kernels.close_all(self.token)

    def memory_problem(self, memory_limit: str) -> str | None:
        """Return why containers cannot have that much memory here, or None."""
        tiers = self.sandboxes.tiers
        if memory_limit in tiers:
            return None
        allowed = " or ".join(tiers) or "none"
        return f"This server's containers have no memory_limit of {memory_limit}; it allows {allowed}."

    async def create(
        self,
        project: str,
        name: str,
        *,
        file_ids: Sequence[str] = (),
        memory_limit: str = "1g",
        expires_minutes: int = EXPIRES_MINUTES,
        id: str | None = None,
    ) -> JSON:
        """Create a container with copies of files; with an `id` that is taken, return that container.

        Raises ObjectNotFound for a file that does not exist, ContainerFileRefused if they are too many.
        """
        now = int(time.time())
        value: JSON = {
            "id": id or new_id("cntr_"),
            "object": "container",
            "created_at": now,
            "name": name,
            "status": "running",
            "last_active_at": now,
            "expires_after": {"anchor": "last_active_at", "minutes": expires_minutes},
            "memory_limit": memory_limit,
            "network_policy": {"type": "disabled"},
        }
        key = Key(project, CONTAINERS, value["id"])
        container = Document(key, value, state=EMPTY)
        added = await self._copies(container, file_ids)
        state, operations, _ = await file_changes(self._store, container, added)
        insert = Insert(key, value, state=state, labels=frozenset({name_label(name)}))
        deadline = self._deadlines.expire_at(*key, expires_at(value))
        try:
            return (await self._store.write(insert, *operations, deadline))[0].value
        except AlreadyExists:
            return (await self.records.get(project, key.id)).value

    async def run(self, container: Document, code: str, on_output: OnOutput) -> CodeResult:
        """Run code where the container's sandbox is: here, or in another worker of this machine.

        It runs after what others run in this container; `on_output` gets what it shows meanwhile. `container`
        is from `records.use`. Raises SandboxUnavailable, ContainerNotFound and ContainerExpired.
        """
        key = container.key
        for _ in range(MOST_MOVES):
            holder = container.state["kernel"]
            with contextlib.suppress(KernelMoved):
                if holder is None or holder["token"] == self.token:
                    return await self._runner.run(key, code, on_output)
                try:
                    return await run_there(holder, key, code, on_output)
                except WorkerLost:
                    return await self._runner.run(key, code, on_output, lost=holder)
            container = await self.records.usable(key.project, key.id)
        raise SandboxUnavailable("other workers took the container's sandbox over and over")

    async def delete(self, project: str, container: str) -> None:
        """Delete a container with its files and its sandbox; raise ContainerNotFound."""

        async def attempt() -> tuple[Document, Enqueue]:
            document = await self.records.get(project, container)
            clear, purge = self._deletion_of_files(document)
            cancel = self._deadlines.cancel_expiry(*document.key)
            await self._store.write(Delete(document), cancel, clear, purge)
            return document, purge

        document, purge = await retry_on_conflict(attempt)
        await self._end_kernel(document)
        await self._deadlines.run(purge)

    # --- files ---

    async def add_content(self, project: str, container: str, filename: str, content: str, size: int) -> JSON:
        """Add a file whose bytes are a content of the store; one with the same path is replaced."""
        new = NewFile(checked_path(filename), content, size, "user")
        _, [file] = await self.records.change_files(project, container, [new])
        return file

    async def add_file(self, project: str, container: str, file_id: str) -> JSON:
        """Add a copy of a file under its name; one with the same path is replaced."""
        await self.records.usable(project, container)
        file = await self._files.get(project, file_id, "file_id")
        new = await self._copy(file, path_of(file.value["filename"], file_id, ()), "file_id")
        _, [added] = await self.records.change_files(project, container, [new])
        return added

    async def add_files(self, project: str, container: str, file_ids: Sequence[str]) -> list[JSON]:
        """Add copies of those files that were not added before; return the new ones.

        A file whose name another one has gets its id before its name.
        """
        document = await self.records.usable(project, container)
        added = await self._copies(document, file_ids)
        return (await self.records.change_files(project, container, added))[1] if added else []

    async def get_file(self, project: str, container: str, file: str) -> Document:
        """Return a file's document; raise ObjectNotFound, or ContainerExpired."""
        document = await self.records.use(project, container)
        found = await self._store.get(file_key(document, file))
        if found is None:
            message = f"File '{file}' not found in container '{container}'."
            raise ObjectNotFound(message, param="file_id")
        return found

    def read_file(self, file: Document, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes of a file from `start` up to `end`."""
        return self._store.read_content(file.key.project, file.state["content"], start, end)

    async def delete_file(self, project: str, container: str, file: str) -> None:
        """Delete a file; raise ObjectNotFound, or ContainerExpired."""
        found = await self.get_file(project, container, file)
        deleted = {below_folder(found.value["path"]): found.state["content"]}
        await self.records.change_files(project, container, deleted=deleted)

    async def _copies(self, container: Document, file_ids: Sequence[str]) -> list[NewFile]:
        copied, taken = container.state["copied"], set(container.state["files"])
        added = []
        for number, file_id in enumerate(dict.fromkeys(file_ids)):
            if file_id in copied:
                continue
            param = f"file_ids[{number}]"
            file = await self._files.get(container.key.project, file_id, param)
            path = path_of(file.value["filename"], file_id, taken)
            taken.add(path)
            added.append(await self._copy(file, path, param))
        return added

    async def _copy(self, file: Document, path: str, param: str) -> NewFile:
        """Copy a file's bytes: a container keeps them when the file is deleted."""
        project, content = file.key.project, new_id("content_")
        if file.value["bytes"] > MAX_BYTES:
            raise ContainerFileRefused(f"The files of a container have at most {MAX_BYTES} bytes.", param)
        try:
            size = await write_unclaimed(self._store, project, self._files.read(file), id=content)
        except ContentNotFound as exc:
            raise no_such_file(file.id, param) from exc
        return NewFile(path, content, size, "user", origin=file.id)

    # --- sandboxes ---

    async def _close_kernel(self, key: Key) -> None:
        await self.kernels.close((self.token, key.project, key.id))

    async def _end_kernel(self, document: Document) -> None:
        """End the sandbox of a container that is deleted or has expired, whichever worker has it."""
        holder = document.state["kernel"]
        await self._close_kernel(document.key)
        if holder is not None and holder["token"] != self.token:
            await close_there(holder, document.key)

    async def _tend(self) -> None:
        """Note the use of containers in which code runs; end sandboxes whose containers are gone."""
        while True:
            await asyncio.sleep(TEND_SECONDS)
            await self.kernels.give_back()
            for key in self.kernels.keys(self.token):
                with contextlib.suppress(StoreError):
                    await self._tend_kernel(Key(key[1], CONTAINERS, key[2]))

    async def _tend_kernel(self, key: Key) -> None:
        try:
            if self.kernels.is_busy((self.token, key.project, key.id)):
                await self.records.use(key.project, key.id, even_late=True)
                return
            holder = (await self.records.usable(key.project, key.id)).state["kernel"]
            if holder is None or holder["token"] != self.token:
                await self._close_kernel(key)
        except RetrievalError:
            await self._close_kernel(key)

    # --- jobs ---

    async def _expire(self, lease: Lease) -> None:
        """Run a container's expire job: delete its files, and a month later its object."""
        await retry_on_conflict(lambda: self._attempt_to_expire(lease))

    async def _attempt_to_expire(self, lease: Lease) -> None:
        job, now = lease.job, time.time()
        document = await self._store.get(Key(job.project, CONTAINERS, job.payload["id"]))
        if document is None:
            await self._deadlines.finish(lease)
            return
        due = expires_at(document.value)
        if document.value["status"] != "expired":
            if due > now:
                await self._store.write(Reschedule(lease.job, due))
                return
            clear, purge = self._deletion_of_files(document)
            expired = Replace(document, value={**document.value, "status": "expired"}, state=EMPTY)
            await self._store.write(expired, Reschedule(lease.job, now + KEPT_SECONDS), clear, purge)
            await self._end_kernel(document)
            self._deadlines.run_in_background(purge)
        elif due + KEPT_SECONDS > now:
            await self._store.write(Reschedule(lease.job, due + KEPT_SECONDS))
        else:
            await self._store.write(Delete(document), Finish(lease.job))

    def _deletion_of_files(self, container: Document) -> tuple[Clear, Enqueue]:
        """Return the operations that delete a container's files, and that enqueue the job for their bytes.

        The job names the contents, as a new container may have the id by the time it runs.
        """
        project = container.key.project
        contents = [entry["content"] for entry in container.state["files"].values()]
        purge = self._deadlines.purge(project, CONTAINERS, new_id("purge_"), contents=contents)
        return Clear(project, CONTAINER_FILES, container.id), purge

    async def _purge(self, lease: Lease) -> None:
        """Run a purge job: delete the bytes of the files of a container that is deleted or has expired."""
        for content in lease.job.payload["contents"]:
            await self._store.delete_content(lease.job.project, content)
        await self._deadlines.finish(lease)
