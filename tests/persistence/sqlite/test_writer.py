import asyncio
import sys
import threading
from pathlib import Path

import apsw
import pytest

from persistence.errors import StoreUnavailable
from persistence.sqlite import SQLiteStore, writer
from persistence.sqlite.database import connect
from persistence.sqlite.fair_lock import FairLock
from persistence.store import Insert, Key


def insert(id: str) -> Insert:
    return Insert(Key("proj", "messages", id), {"id": id}, parent="thread")


async def test_writes_that_wait_share_one_commit(store: SQLiteStore) -> None:
    commits = 0

    def count() -> bool:
        nonlocal commits
        commits += 1
        return False

    hold = threading.Event()

    def block(connection: apsw.Connection) -> None:
        connection.set_commit_hook(count)
        hold.wait()

    blocked = asyncio.create_task(store._database.write(block))
    await asyncio.sleep(0)
    writes = [asyncio.create_task(store.write(insert(f"msg_{number}"))) for number in range(100)]
    await asyncio.sleep(0)
    hold.set()
    await asyncio.gather(blocked, *writes)
    assert commits <= 3
    assert len((await store.page("proj", "messages", "thread", limit=200)).documents) == 100


async def test_a_write_that_was_cancelled_before_its_turn_is_not_done(store: SQLiteStore) -> None:
    hold = threading.Event()
    blocked = asyncio.create_task(store._database.write(lambda connection: hold.wait()))
    await asyncio.sleep(0)
    cancelled = asyncio.create_task(store.write(insert("msg_cancelled")))
    kept = asyncio.create_task(store.write(insert("msg_kept")))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    hold.set()
    await asyncio.gather(blocked, kept)
    page = await store.page("proj", "messages", "thread")
    assert [document.id for document in page.documents] == ["msg_kept"]


async def test_a_bug_in_one_write_leaves_the_writer_at_work(store: SQLiteStore) -> None:
    def bug(connection: apsw.Connection) -> None:
        connection.execute("INSERT INTO collections (project, collection) VALUES ('half', 'done')")
        raise ZeroDivisionError

    results = await asyncio.gather(
        store.write(insert("msg_1")),
        store._database.write(bug),
        store.write(insert("msg_2")),
        return_exceptions=True,
    )
    assert isinstance(results[1], ZeroDivisionError)
    assert len((await store.page("proj", "messages", "thread")).documents) == 2
    assert (
        await store._database.write(
            lambda c: c.execute("SELECT 1 FROM collections WHERE project='half'").fetchall()
        )
        == []
    )


async def test_what_is_queued_when_the_store_closes_is_done(path: Path) -> None:
    store = SQLiteStore(path)
    await store.migrate()
    await store.open()
    writes = [asyncio.create_task(store.write(insert(f"msg_{number}"))) for number in range(50)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*writes)
    await store.open()
    assert len((await store.page("proj", "messages", "thread", limit=100)).documents) == 50
    await store.close()


async def test_a_write_that_gets_no_turn_is_unavailable_and_not_done_later(
    store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "WRITE_TIMEOUT", 0.05)
    other = FairLock(Path(f"{path}-turn"))
    with other, pytest.raises(StoreUnavailable, match="no write lock"):
        await store.write(insert("msg_late"))
    monkeypatch.setattr(writer, "WRITE_TIMEOUT", 20.0)
    await store.write(insert("msg_1"))
    page = await store.page("proj", "messages", "thread")
    assert [document.id for document in page.documents] == ["msg_1"]
    other.close()


async def test_a_write_that_has_begun_is_waited_for_beyond_the_timeout(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "WRITE_TIMEOUT", 0.05)
    begun, hold = threading.Event(), threading.Event()

    def slow(_: apsw.Connection) -> str:
        begun.set()
        hold.wait()
        return "committed"

    writing = asyncio.create_task(store._database.write(slow))
    await asyncio.to_thread(begun.wait)
    try:
        with pytest.raises(StoreUnavailable, match="no write lock"):
            await store.write(insert("msg_late"))
        assert not writing.done()
    finally:
        hold.set()
    assert await writing == "committed"


async def test_a_write_waits_for_a_process_without_the_fair_lock(store: SQLiteStore, path: Path) -> None:
    """Such as a backup tool, or a shell: SQLite's own lock is waited for too."""
    other = connect(path)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(store.write(insert("msg_1")))
    await asyncio.sleep(0.05)
    assert not writing.done()
    other.execute("ROLLBACK")
    other.close()
    await writing


async def test_reading_goes_on_while_another_process_writes(store: SQLiteStore, path: Path) -> None:
    await store.write(insert("msg_1"))
    other = connect(path)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM documents")
    assert await store.get(Key("proj", "messages", "msg_1")) is not None
    other.execute("ROLLBACK")
    other.close()


FORKING = """
import asyncio, os, sys
from pathlib import Path
from {package} import SQLiteStore
from {interface} import Insert, Key

store = SQLiteStore(Path(sys.argv[1]))
asyncio.run(store.migrate())

async def work(name):
    await store.open()
    for number in range(20):
        await store.write(Insert(Key("proj", "messages", f"{{name}}_{{number}}"), {{}}, parent="thread"))
    await store.close()

children = []
for name in ("a", "b", "c"):
    child = os.fork()
    if child == 0:
        asyncio.run(work(name))
        os._exit(0)
    children.append(child)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


async def test_each_forked_worker_opens_the_store_itself(path: Path) -> None:
    program = FORKING.format(package=SQLiteStore.__module__, interface=Insert.__module__)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(path))
    assert await process.wait() == 0
    store = SQLiteStore(path)
    await store.open()
    assert len((await store.page("proj", "messages", "thread", limit=100)).documents) == 60
    await store.close()
