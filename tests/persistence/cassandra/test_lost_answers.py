"""The answer to a transaction is lost on the way: what was applied is acknowledged, and applied once."""

import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest

from persistence.cassandra import CassandraStore
from persistence.cassandra.driver import Outcome, Statement
from persistence.cassandra.errors import OutcomeUnknown
from persistence.errors import StoreUnavailable
from persistence.store import Append, Delete, Enqueue, Finish, Hold, Insert, Job, Key, Replace, Reschedule

pytestmark = pytest.mark.cassandra


@pytest.fixture
def lose_answers(store: CassandraStore, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    """Lose the first answer to each different transaction from now on; return the attempts so far."""

    def begin() -> list[int]:
        attempts: list[int] = []
        seen: set[str] = set()
        send = store.connection.compare_and_set

        async def compare_and_set(statements: Sequence[Statement]) -> Outcome:
            outcome = await send(statements)
            attempts.append(outcome.applied)
            key = repr([statement for statement, _ in statements])
            if key not in seen:
                seen.add(key)
                raise OutcomeUnknown("no answer in time")
            return outcome

        monkeypatch.setattr(store.connection, "compare_and_set", compare_and_set)
        return attempts

    return begin


async def _job(store: CassandraStore, project: str) -> Job:
    kind = f"kind-{secrets.token_hex(8)}"
    await store.write(Enqueue(Job(project, kind, "run_1", due=time.time() - 1)))
    return (await store.take_jobs(kind, "worker", 60, 1))[0]


async def test_a_job_is_taken(store: CassandraStore, project: str, lose_answers) -> None:
    kind = f"kind-{secrets.token_hex(8)}"
    await store.write(Enqueue(Job(project, kind, "run_1", due=time.time() - 1)))
    attempts = lose_answers()
    (job,) = await store.take_jobs(kind, "worker", 60, 1)
    assert job.id == "run_1"
    assert attempts[:2] == [True, False]
    await store.write(Finish(job))


async def test_a_lease_is_renewed(store: CassandraStore, project: str, lose_answers) -> None:
    job = await _job(store, project)
    lose_answers()
    renewed = await store.renew_job(job, 600)
    assert renewed.due > job.due + 500
    await store.write(Hold(renewed), Finish(renewed))


async def test_a_job_is_rescheduled(store: CassandraStore, project: str, lose_answers) -> None:
    job = await _job(store, project)
    attempts = lose_answers()
    await store.write(Reschedule(job, due=time.time() - 1, payload={"step": 2}))
    assert attempts[:2] == [True, False]
    (again,) = await store.take_jobs(job.kind, "worker", 60, 1)
    assert again.payload == {"step": 2}


async def test_a_job_is_finished(store: CassandraStore, project: str, lose_answers) -> None:
    job = await _job(store, project)
    lose_answers()
    await store.write(Finish(job))
    assert await store.take_jobs(job.kind, "worker", 60, 1) == []


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "with-a-held-job"])
async def test_a_document_is_replaced_once(
    store: CassandraStore, project: str, lose_answers, *, beside: bool
) -> None:
    key = Key(project, "runs", "run_1")
    (document,) = await store.write(Insert(key, {"n": 1}))
    job = await _job(store, project)
    attempts = lose_answers()
    operations = [Replace(document, value={"n": 2}), *([Hold(job)] if beside else [])]
    changed = (await store.write(*operations))[0]
    assert attempts[:2] == [True, False]
    found = await store.get(key)
    assert (found.value, found.version) == ({"n": 2}, changed.version)


async def _deleted(store: CassandraStore, project: str, begin: Callable[[], object]) -> bool:
    key = Key(project, "runs", "run_1")
    (document,) = await store.write(Insert(key, {"n": 1}))
    begin()
    await store.write(Delete(document))
    return await store.get(key) is None


async def _inserted(store: CassandraStore, project: str, begin: Callable[[], object]) -> bool:
    begin()
    await store.write(Insert(Key(project, "runs", "run_1"), {"n": 1}, parent="thread_1"))
    page = await store.page(project, "runs", "thread_1")
    return [each.key.id for each in page.documents] == ["run_1"]


async def _appended(store: CassandraStore, project: str, begin: Callable[[], object]) -> bool:
    begin()
    await store.write(Append(project, "run_1", 0, [b"one"]))
    return True


@pytest.mark.parametrize("write", [_deleted, _inserted, _appended])
async def test_other_writes_are_acknowledged(
    store: CassandraStore,
    project: str,
    lose_answers,
    write: Callable[..., Awaitable[bool]],
) -> None:
    assert await write(store, project, lose_answers)


async def test_a_write_whose_end_is_unknown_is_not_undone_in_part(
    store: CassandraStore, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = await store.write(Insert(Key(project, "runs", "run_1"), {"n": 1}))
    send = store.connection.compare_and_set
    is_lost = False

    async def compare_and_set(statements: Sequence[Statement]) -> Outcome:
        nonlocal is_lost
        outcome = await send(statements)
        is_lost = is_lost or any("'run_1'" in repr(parameters) for _, parameters in statements)
        if is_lost:
            raise OutcomeUnknown("no answer in time")
        return outcome

    monkeypatch.setattr(store.connection, "compare_and_set", compare_and_set)
    monkeypatch.setattr(store.connection, "target", replace(store.target, timeout=1.0))
    message = Key(project, "messages", "msg_1")
    with pytest.raises(StoreUnavailable):
        await store.write(Insert(message, {"text": "one"}, parent="thread_1"), Replace(run, value={"n": 2}))
    monkeypatch.undo()

    found, changed = await store.get(message), await store.get(run.key)
    assert (found is not None) == (changed.value == {"n": 2})
