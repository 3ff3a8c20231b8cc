"""What becomes of the jobs that were taken before one could not be."""

import secrets
import time

import pytest

from persistence.cassandra import CassandraStore
from persistence.cassandra.leases import TakeJob
from persistence.errors import StoreUnavailable
from persistence.store import Enqueue, Job

pytestmark = pytest.mark.cassandra


async def test_jobs_taken_before_a_transaction_failed_are_returned(
    store: CassandraStore, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = f"kind-{secrets.token_hex(8)}"
    due = time.time() - 1
    await store.write(*(Enqueue(Job(project, kind, f"run_{number}", due=due)) for number in range(5)))
    apply = TakeJob.statements
    failing = {"run_2"}

    def statements(part: TakeJob, *arguments):
        if part.after.id in failing:
            raise StoreUnavailable("the network failed")
        return apply(part, *arguments)

    monkeypatch.setattr(TakeJob, "statements", statements)
    taken = await store.take_jobs(kind, "worker", 60, 10)
    assert sorted(job.id for job in taken) == ["run_0", "run_1", "run_3", "run_4"]
    with pytest.raises(StoreUnavailable):
        await store.take_jobs(kind, "worker", 60, 10)

    failing.clear()
    assert [job.id for job in await store.take_jobs(kind, "worker", 60, 10)] == ["run_2"]
