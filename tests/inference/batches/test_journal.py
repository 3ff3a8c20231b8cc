import time

import pytest

from inference.batches.journal import Journal
from inference.batches.progress import Progress
from inference.leases import Lease
from persistence.store import Enqueue, Job, Operation, Store


async def test_a_flush_ends_though_answers_keep_arriving(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job("p", "batches", "batch_1", owner="w", due=time.time() + 60)
    await store.write(Enqueue(job))
    journal = Journal(store, Lease(job), Progress.of_lines(100))
    write, lines = store.write, iter(range(1, 100))

    async def write_while_one_more_arrives(*operations: Operation) -> object:
        journal.add(next(lines), b"{}", None, is_success=True)
        return await write(*operations)

    monkeypatch.setattr(store, "write", write_while_one_more_arrives)
    journal.add(0, b"{}", None, is_success=True)
    assert await journal.flush() == [0]
    assert journal.pending_bytes == 2
    assert await journal.flush() == [1]
