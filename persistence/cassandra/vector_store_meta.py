"""A vector store's metadata: its totals, its files, and the partitions of their chunks.

A vector store has one partition: a row per file, and the row "" with the totals, which also say where new
chunks go (vectors into a shard, words into a part, until it is full). Both change in one transaction. A
file's chunks are stored under a source, a new name for each put after a delete. It begins with the time, so
that chunks written together are read from few SSTables.
"""

import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import orjson

from persistence.cassandra.driver import Connection, Statement
from persistence.cassandra.filters import matches
from persistence.cassandra.rows import encode_json
from persistence.errors import StoreUnavailable
from persistence.store import Attributes, Filter

SHARD_BYTES = 96_000_000
"""Bytes of vectors in one partition: each shard is a search of its own, so there should be few."""

PART_ROWS = 750_000
"""Rows of words in the partitions of one part together."""

GENERATION = 16
"""Characters of a source's name ahead of the file's."""

TOTALS = "version, dimension, shard, shard_bytes, part, part_rows, chunks, words"
BOTH = f"""SELECT file, {TOTALS}, generation, attributes, batches FROM sources
    WHERE project=? AND store=? AND file IN ?"""
ALL = "SELECT file, generation, attributes, batches FROM sources WHERE project=? AND store=? AND file>''"
SET_TOTALS = """UPDATE sources SET version=?, dimension=?, shard=?, shard_bytes=?, part=?, part_rows=?,
    chunks=?, words=? WHERE project=? AND store=? AND file='' IF version="""
SET_SOURCE = "UPDATE sources SET generation=?, attributes=?, batches=? WHERE project=? AND store=? AND file=?"
DROP_SOURCE = "DELETE FROM sources WHERE project=? AND store=? AND file=?"
DROP_ALL = "DELETE FROM sources WHERE project=? AND store=?"
DESCRIBE = "UPDATE sources SET attributes=? WHERE project=? AND store=? AND file=? IF EXISTS"


class Batch(NamedTuple):
    """Chunks that were put together: their number, part and shard."""

    size: int
    part: int
    shard: int


@dataclass(frozen=True, slots=True)
class Source:
    """A file of a vector store."""

    file: str
    generation: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    batches: Mapping[str, Batch] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name under which its chunks are stored."""
        return f"{self.generation}{self.file}"

    @property
    def chunks(self) -> int:
        """The number of its chunks."""
        return sum(batch.size for batch in self.batches.values())

    @classmethod
    def new(cls, file: str) -> "Source":
        """Return a file that is put for the first time."""
        return cls(file, f"{int(time.time()):08x}{secrets.token_hex(4)}")


def file_of(name: str) -> str:
    """Return the file of a source's name."""
    return name[GENERATION:]


@dataclass(frozen=True, slots=True)
class VectorStoreMeta:
    """The totals of a vector store; `version` is 0 if it is empty."""

    project: str
    store: str
    version: int = 0
    dimension: int | None = None
    shard: int = 0
    shard_bytes: int = 0
    part: int = 0
    part_rows: int = 0
    chunks: int = 0
    words: int = 0

    def grow(
        self, *, size: int, dimension: int | None, rows: int, chunks: int, words: int
    ) -> "VectorStoreMeta":
        """Return the totals with bytes of vectors, rows of words, chunks and words added.

        A full shard or part is left for the next one.
        """
        shard, shard_bytes = self.shard, self.shard_bytes
        if size and shard_bytes + size > SHARD_BYTES and shard_bytes:
            shard, shard_bytes = shard + 1, 0
        part, part_rows = self.part, self.part_rows
        if rows and part_rows + rows > PART_ROWS and part_rows:
            part, part_rows = part + 1, 0
        return replace(
            self,
            version=self.version + 1,
            dimension=self.dimension or dimension,
            shard=shard,
            shard_bytes=shard_bytes + size,
            part=part,
            part_rows=part_rows + rows,
            chunks=max(self.chunks + chunks, 0),
            words=max(self.words + words, 0),
        )


class VectorStoreMetaTable:
    """Reads and writes totals and files."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, project: str, store: str, file: str = "") -> tuple[VectorStoreMeta, Source | None]:
        """Return the totals, and a file if it exists: one statement."""
        meta, source = VectorStoreMeta(project, store), None
        rows = await self._connection.run(BOTH, (project, store, ["", file] if file else [""]))
        for name, *columns in rows:
            if name == "":
                meta = VectorStoreMeta(project, store, *(value or 0 for value in columns[:8]))
                meta = replace(meta, dimension=columns[1])
            else:
                source = decode(name, *columns[8:])
        return meta, source

    async def files(self, project: str, store: str, filter: Filter | None = None) -> list[Source]:
        """Return all files, or those that a filter passes."""
        found: list[Source] = []
        async for rows in await self._connection.scan(ALL, (project, store), 2000):
            sources = [decode(*row) for row in rows]
            found += [each for each in sources if filter is None or matches(filter, each.attributes)]
        return found

    async def compare_and_set(
        self, before: VectorStoreMeta, after: VectorStoreMeta, statements: Iterable[Statement]
    ) -> bool:
        """Set the totals and run the statements, unless the totals have changed."""
        values = (
            *(after.version, after.dimension, after.shard, after.shard_bytes, after.part),
            *(after.part_rows, after.chunks, after.words, before.project, before.store),
        )
        condition: Statement = (f"{SET_TOTALS}null", values)
        if before.version:
            condition = (f"{SET_TOTALS}?", (*values, before.version))
        return (await self._connection.compare_and_set([condition, *statements])).applied

    def put_source(self, meta: VectorStoreMeta, source: Source) -> Statement:
        """Return the statement that writes a file's row."""
        batches = {name: tuple(batch) for name, batch in source.batches.items()}
        content = (source.generation, encode_json(dict(source.attributes)), batches)
        return SET_SOURCE, (*content, meta.project, meta.store, source.file)

    def drop_source(self, meta: VectorStoreMeta, file: str) -> Statement:
        """Return the statement that deletes a file's row."""
        return DROP_SOURCE, (meta.project, meta.store, file)

    async def set_attributes(self, project: str, store: str, file: str, attributes: Attributes) -> None:
        """Set the attributes of an existing file."""
        row = (encode_json(dict(attributes)), project, store, file)
        await self._connection.compare_and_set([(DESCRIBE, row)])

    async def delete(self, meta: VectorStoreMeta) -> None:
        """Delete totals and files; StoreUnavailable if chunks are put meanwhile."""
        guard: Statement = (
            "DELETE FROM sources WHERE project=? AND store=? AND file='' IF version=?",
            (meta.project, meta.store, meta.version),
        )
        everything: Statement = (DROP_ALL, (meta.project, meta.store))
        if not (await self._connection.compare_and_set([guard, everything])).applied:
            raise StoreUnavailable(f"chunks were put into {meta.store} while it was deleted")


def decode(file: str, generation: str, attributes: bytes | None, batches: Any) -> Source:
    """Return the file of a row."""
    kept = {name: Batch(*batch) for name, batch in (batches or {}).items()}
    return Source(file, generation or "", orjson.loads(attributes) if attributes else {}, kept)
