import resource
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from persistence.errors import StoreError, StoreFull, StoreUnavailable
from persistence.sqlite import SQLiteStore
from persistence.sqlite.errors import ERRORS, map_error
from persistence.store import Insert, Key

BUGS = {
    "SQLError",
    "ConstraintError",
    "MismatchError",
    "MisuseError",
    "RangeError",
    "InternalError",
    "AuthError",
}
"""What only a wrong statement of ours can raise."""

NEVER = {"AbortError", "NotFoundError"}
"""What SQLite says only to virtual tables and callbacks, which we have none of."""


def insert(id: str, size: int = 100) -> Insert:
    return Insert(Key("proj", "messages", id), {"text": "x" * size}, parent="thread")


def result_codes() -> set[str]:
    """The names of apsw's exceptions for SQLite's result codes."""
    names = (name for name in dir(apsw) if isinstance(getattr(apsw, name), type))
    errors = {name for name in names if issubclass(getattr(apsw, name), apsw.Error)}
    return {name for name in errors if hasattr(apsw, f"SQLITE_{name.removesuffix('Error').upper()}")} | {
        "SQLError"
    }


def test_every_result_code_of_sqlite_has_a_meaning() -> None:
    known = {cause.__name__ for cause, _, _ in ERRORS} | BUGS | NEVER
    assert result_codes() - known == set()
    assert len(result_codes()) > 20


def test_an_error_names_the_file_and_keeps_what_sqlite_said() -> None:
    error = map_error(apsw.CorruptError("database disk image is malformed"), "/data/store.db")
    assert isinstance(error, StoreUnavailable)
    assert str(error).startswith("/data/store.db: the file is damaged")
    assert "malformed" in str(error)


async def test_a_full_disk_is_an_error_and_stored_data_stays(store: SQLiteStore) -> None:
    await store.write(insert("msg_1"))
    await store._database.write(lambda connection: connection.pragma("max_page_count", 60))
    with pytest.raises(StoreFull, match="no room left"):
        for number in range(1000):
            await store.write(insert(f"msg_big_{number}", 10_000))
    await store._database.write(lambda connection: connection.pragma("max_page_count", 1_000_000))
    await store.write(insert("msg_2"))
    assert await store.get(Key("proj", "messages", "msg_1")) is not None
    assert await store.get(Key("proj", "messages", "msg_2")) is not None


async def test_a_file_larger_than_the_disk_is_an_error_and_leaves_nothing(
    store: SQLiteStore, path: Path
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 1_000_000

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, hard))
    try:
        with pytest.raises(StoreFull):
            await store.write_content("proj", "file-1", pieces())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [file for file in Path(f"{path}-contents").rglob("*") if file.is_file()] == []


async def test_a_damaged_file_is_an_error(store: SQLiteStore, path: Path) -> None:
    for number in range(20):
        await store.write(insert(f"msg_{number}", 1000))
    await store.close()
    with path.open("r+b") as file:
        for page in range(1, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    damaged = SQLiteStore(path)
    with pytest.raises(StoreError, match="damaged"):
        await damaged.open()
        try:
            await damaged.get(Key("proj", "messages", "msg_0"))
        finally:
            await damaged.close()


async def test_a_closed_store_is_unavailable(path: Path) -> None:
    store = SQLiteStore(path)
    await store.migrate()
    with pytest.raises(StoreUnavailable):
        await store.ping()
    await store.open()
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.get(Key("proj", "messages", "msg_1"))
    with pytest.raises(StoreUnavailable):
        await store.write(insert("msg_1"))
    await store.close()


async def test_nothing_is_written_to_a_file_that_was_deleted(store: SQLiteStore, path: Path) -> None:
    await store.write(insert("msg_1"))
    path.unlink()
    for ask in (store.ping(), store.write(insert("msg_2"))):
        with pytest.raises(StoreUnavailable, match="was deleted or cannot be read"):
            await ask
    path.touch()
    with pytest.raises(StoreUnavailable, match="another file"):
        await store.write(insert("msg_2"))
