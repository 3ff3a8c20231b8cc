"""Puts a container's files into its sandbox, and stores those that the code wrote."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from inference.code.container_files import MAX_BYTES, MAX_FILES, NewFile, checked_path, shown_path
from inference.code.errors import ContainerFileRefused
from inference.code.kernel import Kernel
from inference.code.kernels import RunningKernel
from inference.identifiers import new_id
from inference.retrieval.contents import discard, write_unclaimed
from persistence.errors import ContentNotFound
from persistence.store import Document, Store

Stamp = tuple[int, int]
"""Size and time of change of a file in a sandbox."""


STORED_AT_ONCE = 8

MOST_NAMED = 5
"""Files that are not kept and are named to the model."""


@dataclass(slots=True)
class WrittenFiles:
    """What code did to its files.

    `added` are stored, `deleted` are contents by path, `notes` say what is not kept.
    """

    added: list[NewFile] = field(default_factory=list)
    deleted: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    stamps: dict[str, Stamp] = field(default_factory=dict)
    refused: int = 0

    def refuse(self, path: str, reason: str) -> None:
        """Note that a file is not kept; only the first ones are named."""
        self.refused += 1
        if self.refused <= MOST_NAMED:
            self.notes.append(f"{shown_path(path)[:200]!r} is not kept: {reason}")
        elif self.refused == MOST_NAMED + 1:
            self.notes.append("other files are not kept either")


async def put_files(store: Store, container: Document, kernel: Kernel, running: RunningKernel) -> list[str]:
    """Put in what the sandbox lacks, and delete what the container has no more; return what failed."""
    index, notes = container.state["files"], []
    for path in [path for path in running.contents if path not in index]:
        with contextlib.suppress(OSError):
            await kernel.delete(path)
        del running.contents[path]
        running.seen.pop(path, None)
    lacking = [path for path, entry in index.items() if running.contents.get(path) != entry["content"]]
    for path in lacking:
        content = index[path]["content"]
        try:
            await kernel.put(path, store.read_content(container.key.project, content))
        except (OSError, ContentNotFound) as exc:
            notes.append(f"{shown_path(path)} is not there: {exc}")
            with contextlib.suppress(OSError):
                await kernel.delete(path)
        running.contents[path] = content
    if lacking:
        stamps = await _stamps(kernel)
        running.seen.update({path: stamps[path] for path in lacking if path in stamps})
    return notes


async def written_files(
    store: Store, container: Document, kernel: Kernel, running: RunningKernel
) -> WrittenFiles:
    """Store the contents of the files that are new or changed since `running.seen`."""
    written = WrittenFiles(stamps=await _stamps(kernel))
    written.deleted = {
        path: running.contents.get(path, "") for path in running.seen if path not in written.stamps
    }
    sizes = {path: entry["bytes"] for path, entry in container.state["files"].items()}
    for path in written.deleted:
        sizes.pop(path, None)
    total = sum(sizes.values())
    wanted = []
    for path, stamp in written.stamps.items():
        if running.seen.get(path) == stamp:
            continue
        try:
            checked_path(path)
            grown = total - sizes.get(path, 0) + stamp[0]
            _check_room(len(sizes) + (path not in sizes), grown)
        except ContainerFileRefused as exc:
            written.refuse(path, str(exc))
        else:
            total, sizes[path] = grown, stamp[0]
            wanted.append(path)
    await _store_all(store, container.key.project, kernel, wanted, written)
    return written


def note_kept(running: RunningKernel, written: WrittenFiles) -> None:
    """Note that what the code wrote is in the store, or will not be."""
    running.seen = written.stamps
    for path in written.deleted:
        running.contents.pop(path, None)
    running.contents.update({new.path: new.content for new in written.added})


def _check_room(files: int, size: int) -> None:
    """Raise ContainerFileRefused where a container cannot have so many files, or so many bytes of them."""
    if files > MAX_FILES:
        raise ContainerFileRefused(f"a container has at most {MAX_FILES} files")
    if size > MAX_BYTES:
        raise ContainerFileRefused(f"the files of a container have at most {MAX_BYTES} bytes together")


async def _store_all(
    store: Store, project: str, kernel: Kernel, paths: Sequence[str], written: WrittenFiles
) -> None:
    """Store files, some at the same time: a database may be slow for each and fast for many."""
    slots = asyncio.Semaphore(STORED_AT_ONCE)

    async def store_one(path: str) -> None:
        async with slots:
            try:
                new = await _store(store, project, kernel, path, written.stamps[path][0])
            except (ContainerFileRefused, OSError) as exc:
                written.refuse(path, str(exc))
            else:
                written.added.append(new)

    outcomes = await asyncio.gather(*map(store_one, paths), return_exceptions=True)
    for failure in filter(None, outcomes):
        raise failure
    order = {path: number for number, path in enumerate(paths)}
    written.added.sort(key=lambda new: order[new.path])


async def _store(store: Store, project: str, kernel: Kernel, path: str, largest: int) -> NewFile:
    """Store a file's bytes, for which nothing in the sandbox vouches: not even for its size."""
    content = new_id("content_")

    async def pieces() -> AsyncIterator[bytes]:
        size = 0
        async for piece in kernel.read(path):
            size += len(piece)
            if size > largest:
                raise ContainerFileRefused("it grew while it was read")
            yield piece

    try:
        size = await write_unclaimed(store, project, pieces(), id=content)
    except BaseException:
        await discard(store, project, content)
        raise
    return NewFile(path, content, size, "assistant")


async def _stamps(kernel: Kernel) -> dict[str, Stamp]:
    return {file.path: (file.size, file.changed) for file in await kernel.files()}
