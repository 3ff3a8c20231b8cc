"""Imports the keyspace of an Astra Assistants server: the tables of version 2 of the API.

That server keeps a nested object as JSON in a text column, and times as milliseconds or, in some columns,
as seconds that were written as milliseconds. It keeps no bytes of files, only their chunks.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import orjson

from inference.transfer.folder import text_name
from inference.transfer.loader import Loader, StoreFile
from persistence.chunks import Chunk, FileChunks
from persistence.errors import StoreRefused
from persistence.types import JSON

TABLES = {
    "assistants": "assistants_v2",
    "threads": "threads",
    "messages": "messages_v2",
    "runs": "runs_v2",
    "run_steps": "run_steps",
}
"""The tables of the kinds that are imported row by row."""

NO_JSON = frozenset({"id", "name", "description", "instructions", "model", "filename", "content"})
"""Text columns that are never JSON, whatever they begin with; `content` is one of file_chunks."""

MILLISECONDS_FROM = 10**11
"""Times from here on are milliseconds: as seconds they would be in the year 5138."""

NUMBER = re.compile(r"\d+$")


class AstraImport:
    """Imports a keyspace, which is open, with a loader.

    `model` is the name by which this server knows the embedding model of all vector stores; None for the one
    that their files name.
    """

    def __init__(self, keyspace: Any, loader: Loader, project: str, model: str | None) -> None:
        self._keyspace = keyspace
        self._loader = loader
        self._project = project
        self._model = model
        self._models: dict[str, str] = {}
        self._has_chunks = False
        self._vectors: list[str] = []

    async def check(self) -> None:
        """Raise StoreRefused for a keyspace that is no Astra Assistants server's."""
        tables = [*TABLES.values(), "files", "vector_stores"]
        if not any([await self._keyspace.columns(table) for table in tables]):
            name = self._keyspace.target.keyspace
            raise StoreRefused(f"the keyspace {name} has none of the tables {', '.join(tables)}")

    async def run(self) -> None:
        """Import everything."""
        chunks = await self._keyspace.columns("file_chunks")
        self._has_chunks = bool(chunks)
        self._vectors = [name for name in chunks if name.startswith("embedding")]
        async for rows in self._rows("files"):
            for file in self._records("files", rows):
                await self._file(file)
        async for rows in self._rows("vector_stores"):
            for store in self._records("vector_stores", rows):
                await self._vector_store(store)
        for kind, table in TABLES.items():
            async for rows in self._rows(table):
                await self._loader.load(kind, self._records(kind, rows))

    def _records(self, kind: str, rows: Iterable[JSON]) -> list[JSON]:
        """Return the objects of rows; a row with a column of another form is reported."""
        found = []
        for row in rows:
            try:
                found.append(record(row))
            except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as exc:
                self._loader.report.add_broken(kind, row["id"], f"has a column of another form: {exc!r}")
        return found

    async def _rows(self, table: str, **key: str) -> AsyncIterator[list[JSON]]:
        columns = await self._keyspace.columns(table)
        if columns:
            async for rows in self._keyspace.rows(table, columns, **key):
                yield rows

    async def _chunks(self, file: str, *columns: str) -> AsyncIterator[list[JSON]]:
        if self._has_chunks:
            names = ["chunk_id", "content", *columns]
            async for rows in self._keyspace.rows("file_chunks", names, file_id=file):
                yield rows

    # --- files ---

    async def _file(self, file: JSON) -> None:
        model = file.get("embedding_model")
        if model and isinstance(model, str):
            self._models[file["id"]] = model
        file["filename"] = text_name(file.get("filename"))
        file["status"] = "processed"
        await self._loader.load_file(file, self._text(file["id"]))

    async def _text(self, file: str) -> AsyncIterator[bytes]:
        """Yield the text of a file: its chunks by number."""
        found: list[tuple[int, str]] = []
        async for rows in self._chunks(file):
            found += [(number(row["chunk_id"]), row["content"] or "") for row in rows]
        yield "\n".join(text for _, text in sorted(found)).encode("utf-8", "replace")

    # --- vector stores ---

    async def _vector_store(self, store: JSON) -> None:
        store["last_active_at"] = store.get("last_active_at") or store.get("created_at")
        pages = self._rows("vector_store_files", vector_store_id=store["id"])
        rows = [one async for page in pages for one in self._records("vector_store_files", page)]
        models = [self._models[one["id"]] for one in rows if one["id"] in self._models]
        model = models[0] if models else None
        files = [StoreFile(_store_file(one), self._chunks_of(store["id"], one["id"], model)) for one in rows]
        await self._loader.load_vector_store(store, self._model or _known_name(model), files)

    def _chunks_of(self, store: str, file: str, model: str | None) -> Callable[[], AsyncIterator[FileChunks]]:
        """Return what yields the chunks of a file, with vectors if they are the store's model's."""
        column = _column(model) if model is not None and self._models.get(file) == model else ""

        async def chunks() -> AsyncIterator[FileChunks]:
            async for rows in self._chunks(file, *([column] if column in self._vectors else [])):
                yield FileChunks(
                    self._project,
                    store,
                    file,
                    [Chunk(number(row["chunk_id"]), row["content"] or "", row.get(column)) for row in rows],
                    {},
                )

        return chunks


def _column(model: str) -> str:
    return "embedding_" + re.sub(r"[-./]", "_", model).lower()


def _known_name(model: str | None) -> str | None:
    """Return a model's name without the prefix of OpenAI's provider, which this server's names lack."""
    return model.removeprefix("openai/") if model is not None else None


def _store_file(row: JSON) -> JSON:
    return {**row, "usage_bytes": 0, "status": "completed", "last_error": None}


def number(chunk_id: str) -> int:
    """Return the number of a chunk: its id ends with it."""
    found = NUMBER.search(chunk_id)
    return int(found[0]) if found else 0


# --- rows ---


def record(row: JSON) -> JSON:
    """Return the object of a row, with its columns decoded; what cannot be decoded stays as it is."""
    value = {name: _decoded(name, column) for name, column in row.items()}
    if isinstance(value.get("last_error"), str):
        value["last_error"] = {"code": "server_error", "message": value["last_error"]}
    if isinstance(value.get("step_details"), dict):
        for call in value["step_details"].get("tool_calls") or []:
            if isinstance(call, dict) and call.get("type") == "file_search":
                call["file_search"] = _search(call.get("file_search") or {})
    return value


def _decoded(name: str, column: Any) -> Any:
    if column is None or (name in NO_JSON and isinstance(column, str)):
        return column
    if name.endswith("_at"):
        return seconds(column)
    if name == "metadata":
        return dict(column)
    if isinstance(column, str):
        return _parsed(column)
    if isinstance(column, float):
        return float(f"{column:.6g}")  # 0.7 is 0.699999988 in 32 bits
    if hasattr(column, "items"):
        return {key: _parsed(text) for key, text in column.items()}
    return [_parsed(text) for text in column] if isinstance(column, list) else column


def _parsed(text: Any) -> Any:
    if not isinstance(text, str) or text[:1] not in ("{", "[", '"'):
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def seconds(time: int) -> int:
    """Return seconds since the epoch of a time that is in milliseconds, or in seconds."""
    return time // 1000 if time >= MILLISECONDS_FROM else time


def _search(search: JSON) -> JSON:
    """Return the results of a search as the API has them; that server kept the chunks it found."""
    if "chunks" not in search:
        return search
    return {
        "results": [
            {
                "file_id": chunk["file_id"],
                "file_name": chunk.get("file_name") or chunk.get("filename") or "",
                "score": min(max(float(chunk.get("score") or 0), 0.0), 1.0),
                "content": [{"type": "text", "text": chunk.get("content") or ""}],
            }
            for chunk in search["chunks"]
        ]
    }
