import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from persistence.errors import ContentNotFound, StoreUnavailable
from persistence.sqlite import SQLiteStore
from persistence.sqlite.directory import STALE_SECONDS, Directory
from persistence.store import Chunk


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


def files(path: Path, folder: str) -> list[Path]:
    """What lies in a directory beside the database."""
    return sorted(file for file in Path(f"{path}-{folder}").rglob("*") if file.is_file())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_no_id_becomes_part_of_a_path(store: SQLiteStore, path: Path) -> None:
    await store.write_content("../proj", "../../file", pieces(b"content"))
    await store.put_chunks("../proj", "../../vs", "../../file", [Chunk(0, "text")], {})
    [content] = files(path, "contents")
    assert content.read_bytes() == b"content"
    assert all(len(file.name.split("-")[0]) == 32 for file in [content, *files(path, "indexes")])
    assert {entry.name.split("-")[0] for entry in path.parent.iterdir()} == {path.name}


async def test_content_that_is_replaced_or_deleted_leaves_no_file(store: SQLiteStore, path: Path) -> None:
    await store.write_content("proj", "file-1", pieces(b"first"))
    await store.write_content("proj", "file-1", pieces(b"second"))
    assert [file.read_bytes() for file in files(path, "contents")] == [b"second"]
    await store.delete_content("proj", "file-1")
    assert files(path, "contents") == []


async def test_content_that_failed_leaves_no_file(store: SQLiteStore, path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 5_000_000
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.write_content("proj", "file-1", broken())
    assert files(path, "contents") == []


async def test_reading_goes_on_when_the_content_is_deleted_meanwhile(store: SQLiteStore) -> None:
    await store.write_content("proj", "file-1", pieces(b"x" * 3_000_000))
    reading = store.read_content("proj", "file-1")
    read = len(await anext(reading))
    await store.delete_content("proj", "file-1")
    async for piece in reading:
        read += len(piece)
    assert read == 3_000_000
    with pytest.raises(ContentNotFound):
        await anext(store.read_content("proj", "file-1"))


async def test_a_truncated_content_file_is_an_error(store: SQLiteStore, path: Path) -> None:
    await store.write_content("proj", "file-1", pieces(b"x" * 3_000_000))
    [file] = files(path, "contents")
    os.truncate(file, 1_000_000)
    with pytest.raises(StoreUnavailable, match="shorter"):
        [piece async for piece in store.read_content("proj", "file-1")]


async def test_opening_clears_away_old_files_that_no_row_names_and_no_others(path: Path) -> None:
    store = SQLiteStore(path)
    await store.migrate()
    await store.open()
    await store.write_content("proj", "file-1", pieces(b"kept"))
    await store.put_chunks("proj", "vs_1", "file-1", [Chunk(0, "kept")], {})
    await store.close()
    long_ago = time.time() - STALE_SECONDS - 60
    for folder in ("contents", "indexes"):
        directory = Directory(Path(f"{path}-{folder}"))
        directory.path_of(directory.new()).write_bytes(b"fresh")
        directory.path_of(directory.new()).write_bytes(b"orphan")
        for file in files(path, folder):
            if file.read_bytes() != b"fresh":
                os.utime(file, (long_ago, long_ago))
    await store.open()
    assert sorted(file.read_bytes() for file in files(path, "contents")) == [b"fresh", b"kept"]
    assert [file.read_bytes() for file in files(path, "indexes")].count(b"orphan") == 0
    assert b"".join([piece async for piece in store.read_content("proj", "file-1")]) == b"kept"
    assert len(await store.search_text("proj", "vs_1", "kept", 10)) == 1
    await store.close()


async def test_a_deleted_vector_store_leaves_no_file(store: SQLiteStore, path: Path) -> None:
    await store.put_chunks("proj", "vs_1", "file-1", [Chunk(0, "text", (1.0, 0.0))], {"a": 1})
    await store.search_vectors("proj", "vs_1", (1.0, 0.0), 10)
    await store.delete_chunks("proj", "vs_1")
    assert files(path, "indexes") == []


async def test_first_chunks_that_come_at_once_share_one_database(store: SQLiteStore, path: Path) -> None:
    await asyncio.gather(
        *(store.put_chunks("proj", "vs_1", f"file-{number}", [Chunk(0, "text")], {}) for number in range(8))
    )
    assert len(await store.search_text("proj", "vs_1", "text", 100)) == 8
    assert len([file for file in files(path, "indexes") if "-" not in file.name]) == 1


async def test_many_vector_stores_keep_a_bounded_number_of_files_open(store: SQLiteStore) -> None:
    for number in range(80):
        await store.put_chunks("proj", f"vs_{number}", "file-1", [Chunk(0, f"text {number}")], {})
    before = descriptors()
    for number in range(80):
        [hit] = await store.search_text("proj", f"vs_{number}", "text", 10)
        assert hit.text == f"text {number}"
    assert descriptors() <= before + 10


async def test_a_failed_write_of_chunks_leaves_nothing_of_them(store: SQLiteStore, path: Path) -> None:
    await store.put_chunks("proj", "vs_1", "file-1", [Chunk(0, "kept")], {})
    with pytest.raises(ValueError):
        await store.put_chunks("proj", "vs_1", "file-2", [Chunk(0, "gone"), Chunk(1, "\ud800")], {"a": 1})
    assert len(await store.search_text("proj", "vs_1", "kept gone", 10)) == 1
    assert list(await store.read_chunks("proj", "vs_1", "file-2")) == []


async def test_a_missing_database_of_chunks_is_an_error(path: Path) -> None:
    """Such as after a restore of the main file alone: nothing is searched, or kept, as if it were there."""
    store = SQLiteStore(path)
    await store.migrate()
    await store.open()
    await store.put_chunks("proj", "vs_1", "file-1", [Chunk(0, "text", (1.0, 0.0))], {})
    await store.close()
    for file in files(path, "indexes"):
        file.unlink()
    await store.open()
    with pytest.raises(StoreUnavailable, match="is missing; restore it together with"):
        await store.search_text("proj", "vs_1", "text", 10)
    with pytest.raises(StoreUnavailable, match="is missing"):
        await store.put_chunks("proj", "vs_1", "file-2", [Chunk(0, "text")], {})
    await store.delete_chunks("proj", "vs_1")
    assert list(await store.search_text("proj", "vs_1", "text", 10)) == []
    await store.close()
