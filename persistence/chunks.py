"""Chunks: texts and vectors of vector stores, and searches among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a file's text: its index in the file, and its vector if it has one."""

    index: int
    text: str
    vector: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that a search found; a higher score is better (BM25, or cosine similarity)."""

    file_id: str
    index: int
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """An attribute filter; `operator` is eq, ne, gt, gte, lt, lte, in or nin.

    A file without the attribute matches ne and nin, and nothing else. Types are compared as they
    are: "1" is not 1.
    """

    operator: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    attribute: str
    value: str | float | bool | Sequence[str | float]


@dataclass(frozen=True, slots=True)
class Compound:
    """Filters joined by and, or."""

    operator: Literal["and", "or"]
    filters: Sequence["Comparison | Compound"]


Filter = Comparison | Compound

Attributes = Mapping[str, str | float | bool]


@dataclass(frozen=True, slots=True)
class FileChunks:
    """Some chunks of a file with their vectors, and the file's attributes."""

    project: str
    vector_store: str
    file: str
    chunks: Sequence[Chunk]
    attributes: Attributes


class ChunkStore(Protocol):
    """Stores the chunks of vector stores and searches them by words and by vectors."""

    async def put_chunks(
        self, project: str, vector_store: str, file: str, chunks: Sequence[Chunk], attributes: Attributes
    ) -> None:
        """Write chunks of a file, replacing those of the same indexes; may be called in batches.

        `attributes` replace those that the file had. DimensionMismatch, and nothing kept, if a
        vector is not of the length of those that the vector store has.
        """

    async def set_attributes(
        self, project: str, vector_store: str, file: str, attributes: Attributes
    ) -> None:
        """Set the attributes of a file, by which filters select its chunks."""

    async def delete_chunks(self, project: str, vector_store: str, file: str | None = None) -> None:
        """Delete the chunks of one file, or of the whole vector store."""

    async def read_chunks(
        self, project: str, vector_store: str, file: str, after: int = -1, limit: int = 100
    ) -> Sequence[Chunk]:
        """Return chunks of a file by index, without their vectors."""

    async def search_text(
        self, project: str, vector_store: str, query: str, limit: int, filter: Filter | None = None
    ) -> Sequence[Hit]:
        """Return the best chunks by BM25 for the words of `query`, any of which may match.

        The filter applies before the cut. The query is data: no operator in it has a meaning.
        """

    async def search_vectors(
        self,
        project: str,
        vector_store: str,
        vector: Sequence[float],
        limit: int,
        filter: Filter | None = None,
    ) -> Sequence[Hit]:
        """Return the nearest chunks by cosine similarity; the filter applies before the limit.

        DimensionMismatch if `vector` is not of the length of those that the vector store has.
        """
