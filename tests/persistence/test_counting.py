from pathlib import Path

from persistence import open_store
from persistence.retry import update_with_retry
from persistence.store import Insert, Key, Replace
from tests.counting import CountingStore


async def test_round_trips_are_counted_and_an_update_is_a_read_and_a_write(tmp_path: Path) -> None:
    store = CountingStore(open_store(f"sqlite:///{tmp_path}/store.db"))
    await store.migrate()
    await store.open()
    store.calls.clear()
    key = Key("proj", "threads", "thread_1")
    [inserted] = await store.write(Insert(key, {"n": 0}))
    updated = await update_with_retry(store, key, lambda document: Replace(document, value={"n": 1}))
    assert updated is not None
    assert (inserted.version, updated.version, updated.value) == (1, 2, {"n": 1})
    assert store.calls == {"write": 2, "get": 1}
    await store.close()
