"""Objects are deleted with what belongs to them, in slices."""

from typing import Any

import pytest

import inference.deletion
from inference.deletion import Deletion
from inference.jobs import Jobs
from persistence.store import Clear, Insert, Key, Operation, Store
from tests.fixtures.stores import store

__all__ = ["store"]

MESSAGES = 5


async def test_what_belongs_to_an_object_is_deleted_in_slices(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference.deletion, "SLICE", 2)
    monkeypatch.setattr(inference.deletion, "PATIENCE", 60)
    (thread,) = await store.write(Insert(Key("p", "threads", "thread_1"), {"id": "thread_1"}))
    await store.write(
        *(Insert(Key("p", "messages", f"msg_{n}"), {"id": n}, parent="thread_1") for n in range(MESSAGES))
    )
    writes: list[tuple[Operation, ...]] = []
    write = store.write

    async def noted(*operations: Operation) -> Any:
        writes.append(operations)
        return await write(*operations)

    monkeypatch.setattr(store, "write", noted)
    jobs = Jobs(store, "worker", poll=0.02, lease=10)
    deletion = Deletion(store, jobs, "deletion", ["messages"])
    await jobs.start()
    try:
        await deletion.delete(thread)
    finally:
        await jobs.stop(0)
    assert (await store.page("p", "messages", "thread_1", limit=1)).documents == []
    slices = [each for operations in writes for each in operations if isinstance(each, Clear)]
    assert [each.limit for each in slices] == [2, 2, 2]
