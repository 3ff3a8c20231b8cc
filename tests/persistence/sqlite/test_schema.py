import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from persistence.errors import StoreError, StoreRefused
from persistence.sqlite import SQLiteStore
from persistence.sqlite.database import Schema, check, connect, migrate
from persistence.sqlite.logs import pack
from persistence.sqlite.schema import INDEX, MAIN
from persistence.store import Chunk, Key, child_id


async def refusal(path: Path) -> str:
    """What migrating and opening a file both say."""
    with pytest.raises(StoreRefused) as migrating:
        await SQLiteStore(path).migrate()
    with pytest.raises(StoreRefused) as opening:
        await SQLiteStore(path).open()
    assert str(migrating.value) == str(opening.value)
    assert str(path) in str(opening.value)
    return str(opening.value)


async def test_a_file_made_by_a_newer_version_is_refused_and_not_touched(path: Path) -> None:
    await SQLiteStore(path).migrate()
    with_newer = apsw.Connection(str(path))
    with_newer.pragma("user_version", MAIN.version + 4)
    with_newer.close()
    before = path.read_bytes()
    message = await refusal(path)
    assert (
        f"newer version of Astrolabe (schema {MAIN.version + 4}; this one knows up to {MAIN.version})"
        in message
    )
    assert path.read_bytes() == before


async def test_a_database_of_another_application_is_refused_and_not_touched(path: Path) -> None:
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE theirs (a)")
    other.close()
    before = path.read_bytes()
    assert "another application" in await refusal(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"no database at all\n" * 100, random.Random(1).randbytes(10_000)])
async def test_a_file_that_is_no_database_is_refused_and_not_touched(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "not an SQLite database" in await refusal(path)
    assert path.read_bytes() == content


async def test_a_missing_file_is_refused_with_what_to_run(path: Path) -> None:
    with pytest.raises(StoreRefused, match="run `astrolabe migrate`"):
        await SQLiteStore(path).open()
    assert not path.exists()


async def test_an_empty_file_is_a_new_store(path: Path) -> None:
    path.touch()
    store = SQLiteStore(path)
    await store.migrate()
    await store.open()
    await store.close()


async def test_a_directory_in_place_of_the_file_is_an_error_that_names_it(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError, match=str(path)):
        await SQLiteStore(path).migrate()


async def test_a_file_in_place_of_the_directory_is_refused(path: Path) -> None:
    path.touch()
    with pytest.raises(StoreRefused, match="cannot be created"):
        await SQLiteStore(path / "store.db").migrate()


def test_each_version_is_reached_from_each_earlier_one_and_only_once(tmp_path: Path) -> None:
    scripts = [
        "CREATE TABLE a (x);",
        "ALTER TABLE a ADD COLUMN y;",
        "CREATE TABLE b (z); INSERT INTO b VALUES (3);",
    ]
    for first in range(4):
        path = tmp_path / f"from{first}.db"
        for version in (first, 3, 3):
            migrate(path, Schema(7, scripts[:version]))
        connection = connect(path)
        assert check(connection, Schema(7, scripts), path) == 3
        connection.execute("SELECT x, y FROM a")
        assert connection.execute("SELECT z FROM b").fetchall() == [(3,)]
        connection.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    migrate(path, Schema(7, ["CREATE TABLE a (x);"]))
    with pytest.raises(StoreError):
        migrate(path, Schema(7, ["CREATE TABLE a (x);", "CREATE TABLE b (x); CREATE TABLE a (x);"]))
    connection = connect(path)
    assert check(connection, Schema(7, ["", ""]), path) == 1
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("a",)]
    connection.close()


async def test_an_older_file_is_not_opened_before_it_is_migrated(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await SQLiteStore(path).migrate()
    newer = Schema(MAIN.application_id, [*MAIN.scripts, "CREATE TABLE later (x);"])
    for module in ("main", "store"):
        monkeypatch.setattr(f"persistence.sqlite.{module}.MAIN", newer)
    with pytest.raises(StoreRefused, match="run `astrolabe migrate`"):
        await SQLiteStore(path).open()
    store = SQLiteStore(path)
    await store.migrate()
    await store.open()
    await store.close()


async def test_the_database_of_a_vector_store_is_migrated_when_it_is_next_used(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(path)
    await store.migrate()
    await store.open()
    await store.put_chunks("proj", "vs_1", "file-1", [Chunk(0, "text")], {})
    await store.close()
    newer = Schema(INDEX.application_id, [*INDEX.scripts, "CREATE TABLE later (x);"])
    monkeypatch.setattr("persistence.sqlite.pool.INDEX", newer)
    await store.open()
    assert len(await store.search_text("proj", "vs_1", "text", 10)) == 1
    await store.close()
    monkeypatch.setattr("persistence.sqlite.pool.INDEX", INDEX)
    await store.open()
    with pytest.raises(StoreRefused, match="newer version"):
        await store.search_text("proj", "vs_1", "text", 10)
    await store.close()


async def test_a_file_of_the_first_schema_is_brought_up_to_date_with_all_that_it_holds(path: Path) -> None:
    with migrated(path, replace(MAIN, scripts=MAIN.scripts[:1])) as old:
        old.execute("INSERT INTO realms VALUES (1, 'p', 'messages'), (2, 'p', 'threads')")
        old.execute(
            "INSERT INTO documents (realm, id, parent, position, version, value) VALUES "
            "(1, 'msg_1', 'thread_1', 5, 3, '{}'), (2, 'thread_1', '', 4, 1, '{}')"
        )
        old.execute(
            "INSERT INTO logs (log, project, id, written) VALUES (1, 'p', 'run_1', ?)", (time.time(),)
        )
        old.execute("INSERT INTO segments (log, sequence, events) VALUES (1, 0, ?)", (pack([b"event"]),))
    store = SQLiteStore(path)
    await store.migrate()
    await store.open()
    message = await store.get(Key("p", "messages", child_id("thread_1", "msg_1")))
    assert message is not None
    assert (message.position, message.version) == (5, 3)
    assert (await store.page("p", "messages", "thread_1")).documents == [message]
    assert await store.get(Key("p", "threads", "thread_1")) is not None
    await store.sweep()
    assert await store.read_log("p", "run_1") == [(0, b"event")]
    await store.close()


@contextmanager
def migrated(path: Path, schema: Schema) -> Iterator[apsw.Connection]:
    """A file that an earlier version made."""
    migrate(path, schema)
    connection = connect(path)
    yield connection
    connection.close()
