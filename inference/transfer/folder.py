"""A folder of exported objects: a file of JSON lines for each kind, and the bytes of files.

`KIND.jsonl` has the objects of a kind (`records.KINDS`) as the server answered them, one a line.
`files/ID` are the bytes of a file; `files/ID.txt` is its text, where the server did not give its bytes.
`source.txt` is the URL that it was exported from; `done.txt` names what is exported whole.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

import orjson

from inference.parsing import formats
from inference.transfer.loader import Loader, StoreFile
from inference.transfer.records import KINDS, is_id
from persistence.types import JSON

PIECE = 512 * 1024
LINES = 500
"""Lines that are loaded together."""

ROW_BY_ROW = ("assistants", "threads", "messages", "runs", "run_steps", "conversations", "conversation_items")
"""The kinds whose objects need nothing but their line."""


def file_paths(folder: Path, id: str) -> tuple[Path, Path]:
    """Return where a file's bytes are, and where its text is."""
    return folder / "files" / id, folder / "files" / f"{id}.txt"


async def import_folder(folder: Path, loader: Loader, model: str | None) -> None:
    """Load everything in a folder; `model` embeds its vector stores. Raise OSError if there is none."""
    if not any((folder / f"{kind}.jsonl").is_file() for kind in KINDS):
        raise FileNotFoundError(f"{folder} holds no export: none of {', '.join(KINDS)} is there as .jsonl.")
    for file in lines(folder, "files", loader):
        await _load_file(folder, file, loader)
    files: dict[str, dict[str, StoreFile]] = {}
    for one in lines(folder, "vector_store_files", loader):
        files.setdefault(str(one.get("vector_store_id")), {})[one["id"]] = StoreFile(one)
    for one in lines(folder, "vector_stores", loader):
        await loader.load_vector_store(one, model, files.pop(one["id"], {}).values())
    for store, orphans in files.items():
        for id in orphans:
            loader.report.add_broken("vector_store_files", f"{store}/{id}", "its vector store is missing")
    for kind in ROW_BY_ROW:
        found = lines(folder, kind, loader)
        while some := list(islice(found, LINES)):
            await loader.load(kind, some)


def lines(folder: Path, kind: str, loader: Loader) -> Iterator[JSON]:
    """Yield the objects of a kind, which have ids; a line that is none is reported."""
    path = folder / f"{kind}.jsonl"
    if not path.is_file():
        return
    with path.open("rb") as source:
        for number, line in enumerate(source, 1):
            try:
                value = orjson.loads(line)
            except orjson.JSONDecodeError as exc:
                loader.report.add_broken(kind, f"line {number}", f"is no JSON: {exc}")
                continue
            if not isinstance(value, dict):
                loader.report.add_broken(kind, f"line {number}", "is no JSON object")
            elif not is_id(value.get("id")):
                reason = f"has an unusable 'id': {str(value.get('id'))[:80]!r}"
                loader.report.add_broken(kind, f"line {number}", reason)
            else:
                yield value


async def _load_file(folder: Path, value: JSON, loader: Loader) -> None:
    content, text = file_paths(folder, value["id"])
    if content.is_file():
        await loader.load_file(value, _read(content))
    elif text.is_file():
        await loader.load_file({**value, "filename": text_name(value.get("filename"))}, _read(text))
    else:
        await loader.load_file(value, None)


def text_name(filename: Any) -> Any:
    """Return the name of a file of which only the text is left: `report.pdf.txt`."""
    if not isinstance(filename, str) or PurePath(filename).suffix.lower() in formats.TEXTS:
        return filename
    return f"{filename}.txt"


async def _read(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as source:
        while piece := await asyncio.to_thread(source.read, PIECE):
            yield piece
