"""Copies a store into another, resumable, and verifies counts and checksums."""

import hashlib
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from persistence.store import Append, Content, Document, FileChunks, Job, Loadable, Record, Store

BATCH = 200
"""Records that are loaded together; after each batch the mark is kept."""

KINDS = ("documents", "jobs", "events", "contents", "chunks")

Digest = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a move or an import is: what this phase (`copying`) has done, by kind."""

    phase: str
    counts: dict[str, int]

    @property
    def records(self) -> int:
        """The number of records of all kinds."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Report:
    """What both stores hold, and how they differ."""

    source: dict[str, int]
    destination: dict[str, int]
    differences: list[str] = field(default_factory=list)

    @property
    def verified(self) -> bool:
        """Whether counts and checksums of all kinds agree."""
        return not self.differences


async def move(
    source: Store,
    destination: Store,
    progress: Callable[[Progress], None] = lambda _: None,
    checkpoint: Path | None = None,
) -> Report:
    """Copy everything, then compare both stores; the source is not changed.

    Both stores are open, and nobody writes to either. `checkpoint` is a file that keeps how far a
    move is; with it, the same move started again goes on from there. It is removed when the stores
    agree.
    """
    await copy(source, destination, progress, checkpoint)
    report = await compare(source, destination, progress)
    if report.verified:
        keep(checkpoint, None)
    return report


async def copy(
    source: Store, destination: Store, progress: Callable[[Progress], None], checkpoint: Path | None
) -> None:
    """Load the source's export into the destination, starting at the checkpoint."""
    counts: Counter[str] = Counter()
    mark = kept(checkpoint)
    batch: list[Loadable] = []

    async def write_batch() -> None:
        """Write the batch to the destination, save the checkpoint and report progress."""
        await destination.load(batch)
        batch.clear()
        keep(checkpoint, mark)
        progress(Progress("copying", dict(counts)))

    async for after, record in source.export(mark):
        if isinstance(record, Content):
            pieces = source.read_content(record.project, record.id)
            await destination.write_content(record.project, record.id, pieces)
        else:
            batch.append(record)
        counts.update(size(record))
        mark = after
        if len(batch) >= BATCH or isinstance(record, Content | FileChunks):
            await write_batch()
    await write_batch()


def kept(checkpoint: Path | None) -> str:
    """Return the mark of the checkpoint, or ""."""
    return checkpoint.read_text() if checkpoint is not None and checkpoint.exists() else ""


def keep(checkpoint: Path | None, mark: str | None) -> None:
    """Write a mark, or delete the checkpoint."""
    if checkpoint is None:
        return
    if mark is None:
        checkpoint.unlink(missing_ok=True)
        return
    part = checkpoint.with_name(f"{checkpoint.name}.part")
    part.write_text(mark)
    part.replace(checkpoint)


async def compare(source: Store, destination: Store, progress: Callable[[Progress], None]) -> Report:
    """Compare counts, and checksums that do not depend on order."""
    ours = await summary(source, lambda counts: progress(Progress("verifying source", counts)))
    theirs = await summary(destination, lambda counts: progress(Progress("verifying destination", counts)))
    differences = []
    for kind in KINDS:
        (count, checksum), (other_count, other_checksum) = ours[kind], theirs[kind]
        if count != other_count:
            differences.append(f"{count} {kind} in the source, {other_count} in the destination")
        elif checksum != other_checksum:
            differences.append(f"the {count} {kind} are not the same in both")
    return Report(
        {kind: count for kind, (count, _) in ours.items()},
        {kind: count for kind, (count, _) in theirs.items()},
        differences,
    )


async def summary(store: Store, progress: Callable[[dict[str, int]], None]) -> dict[str, tuple[int, int]]:
    """Return (count, sum of digests) of each kind."""
    counts: Counter[str] = Counter()
    sums = dict.fromkeys(KINDS, 0)
    async for _, record in store.export():
        async for kind, digest in digests(store, record):
            counts[kind] += 1
            sums[kind] = (sums[kind] + int.from_bytes(digest)) % 2**128
            if counts.total() % BATCH == 0:
                progress(dict(counts))
    progress(dict(counts))
    return {kind: (counts[kind], sums[kind]) for kind in KINDS}


def size(record: Record) -> Counter[str]:
    """Return the number of items in a record, by kind."""
    match record:
        case Document():
            return Counter(documents=1)
        case Job():
            return Counter(jobs=1)
        case Append():
            return Counter(events=len(record.events))
        case FileChunks():
            return Counter(chunks=len(record.chunks))
        case Content():
            return Counter(contents=1)


async def digests(store: Store, record: Record) -> AsyncIterator[Digest]:
    """Yield a digest of each document, job, event, content and chunk of a record."""
    if isinstance(record, Content):
        hasher = hashlib.blake2b(fingerprint(record.project, record.id, record.size), digest_size=16)
        async for piece in store.read_content(record.project, record.id):
            hasher.update(piece)
        yield "contents", hasher.digest()
        return
    for digest in local_digests(record):
        yield digest


def local_digests(record: Loadable) -> Iterator[Digest]:
    """Yield the digests of what a record holds itself; not of a job's token, which each store creates."""
    match record:
        case Document():
            place = (record.parent, sorted(record.labels), record.position, record.version)
            yield "documents", fingerprint(*record.key, record.value, record.state, place)
        case Job():
            yield "jobs", fingerprint(record.project, record.kind, record.id, record.due, record.payload)
        case Append():
            for number, event in enumerate(record.events, record.sequence):
                yield "events", fingerprint(record.project, record.id, number, event.hex())
        case FileChunks():
            whose = (record.project, record.vector_store, record.file, dict(record.attributes))
            for chunk in record.chunks:
                vector = array("f", chunk.vector) if chunk.vector and any(chunk.vector) else b""
                yield "chunks", fingerprint(*whose, chunk.index, chunk.text, bytes(vector).hex())


def fingerprint(*parts: Any) -> bytes:
    """Return 16 bytes that are equal for equal JSON, whatever the order of keys."""
    encoded = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(encoded, digest_size=16).digest()
