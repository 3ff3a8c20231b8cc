"""A worker that is lost at any write of a batch: another one finishes it, and each line is answered once."""

import asyncio
from typing import Any

import pytest

from inference.batches.batches import Batches
from inference.batches.caller import LineAnswer
from inference.gateway import Gateway
from persistence.errors import StoreUnavailable
from persistence.store import Document, Hold, Operation, Store
from persistence.types import JSON
from serving.line_caller import LineCaller, LineStages
from tests.contract.engines import ENGINES
from tests.inference.batches.worker import LEASES, BatchWorker, batch_worker, chat_line, jsonl
from tests.inference.engine.conftest import Asked
from tests.inference.engine.mortal import MortalStore, PausedStore
from tests.inference.engine.process import script

LINES = 24
FAILED = 5


class TornStore(MortalStore):
    """Dies at the `at`th write that a lease guards, when the operations up to the first change are done.

    An engine without transactions over partitions can leave this: a file without the end of its batch.
    """

    async def _write_last(self, operations: tuple[Operation, ...]) -> None:
        await self._store.write(*operations[:2])


def requests() -> list[JSON]:
    """Lines that take different times, some of which are refused."""
    fail = script({"fail": {"status": 400, "message": "No."}})
    slow = [script({"text": "Here.", "wait": 0.2 * (number % 4)}) for number in range(LINES)]
    return [chat_line(n, fail if n < FAILED else slow[n]) for n in range(LINES)]


async def check(worker: BatchWorker, id: str) -> None:
    batch = await worker.ended(id, 60)
    assert batch["status"] == "completed", batch
    assert batch["request_counts"] == {"total": LINES, "completed": LINES - FAILED, "failed": FAILED}
    output, errors = [await worker.lines(batch[f"{name}_file_id"]) for name in ("output", "error")]
    assert sorted(line["custom_id"] for line in errors) == [f"r{number}" for number in range(FAILED)]
    expected = sorted(f"r{number}" for number in range(FAILED, LINES))
    assert sorted(line["custom_id"] for line in output) == expected
    usage = sum(line["response"]["body"]["usage"]["total_tokens"] for line in output)
    assert batch["usage"]["total_tokens"] == usage


async def survive(store: Store, gateway: Gateway, stages: LineStages, mortal: MortalStore) -> None:
    """Let one worker begin a batch and die; another one finishes it."""
    lease = LEASES[type(store).__name__]
    async with batch_worker(mortal, gateway, stages, lease=lease) as first:  # type: ignore[arg-type]
        file = await first.file(jsonl(*requests()))
        id = await first.create_of(file)

        async def follow() -> None:
            await first.ended(id, 60)

        await mortal.live_through(follow())
    async with batch_worker(store, gateway, stages, lease=lease) as second:
        await check(second, id)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", ENGINES, indirect=True)
async def test_a_batch_survives_the_loss_of_its_worker_at_any_write(
    store: Store, gateway: Gateway, stages: LineStages
) -> None:
    whole = MortalStore(store)
    await survive(store, gateway, stages, whole)
    writes = range(len(whole.writes))
    assert len(writes) > 3
    mortals = [
        *(MortalStore(store, at=at, how=how) for at in writes for how in ("before", "after")),
        *(TornStore(store, at=at) for at in writes if not store.atomic_writes),
    ]
    await asyncio.gather(*(survive(store, gateway, stages, mortal) for mortal in mortals))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("store", ENGINES, indirect=True)
@pytest.mark.parametrize("at", [1, 2, 3])
async def test_a_worker_that_was_paused_for_longer_than_its_lease_writes_nothing(
    store: Store, gateway: Gateway, stages: LineStages, at: int
) -> None:
    lease = LEASES[type(store).__name__]
    paused = PausedStore(store, at)
    async with batch_worker(paused, gateway, stages, lease=lease) as first:  # type: ignore[arg-type]
        id = await first.create(*requests())
        await paused.paused.wait()
        paused.dead.set()  # it renews nothing
        async with batch_worker(store, gateway, stages, lease=lease) as second:
            await check(second, id)
            batch = await second.get(id)
            paused.dead.clear()
            paused.resumed.set()
            async with asyncio.timeout(10):
                while first.jobs.running:
                    await asyncio.sleep(0.02)
            assert await second.get(id) == batch
            await check(second, id)


async def test_a_line_that_a_stop_interrupts_is_sent_again(
    store: Store, gateway: Gateway, stages: LineStages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stop of a server cancels what waits for a provider, before the batch knows of the stop."""
    real, sent = LineCaller.call, list[int]()

    async def interrupted(self: LineCaller, *arguments: Any) -> LineAnswer:
        sent.append(1)
        if len(sent) == 2:
            raise asyncio.CancelledError
        return await real(self, *arguments)

    monkeypatch.setattr(LineCaller, "call", interrupted)
    async with batch_worker(store, gateway, stages) as worker:
        batch = await worker.ended(await worker.create(*(chat_line(number) for number in range(4))))
        assert batch["request_counts"] == {"total": 4, "completed": 4, "failed": 0}
        assert len(sent) == 5


async def test_a_store_that_is_away_for_a_moment_costs_no_answer(
    store: Store, gateway: Gateway, stages: LineStages, monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    said = script({"text": "Here.", "wait": 0.2}, tag=asked.tag)
    async with batch_worker(store, gateway, stages) as worker:
        id = await worker.create(*(chat_line(number, said) for number in range(40)))
        await worker.when(id, "in_progress")
        real, refused = store.write, list[int]()

        async def away(*operations: Operation) -> list[Document]:
            if len(refused) < 3 and any(isinstance(each, Hold) for each in operations):
                refused.append(1)
                raise StoreUnavailable("away")
            return await real(*operations)

        monkeypatch.setattr(store, "write", away)
        batch = await worker.ended(id)
        assert batch["request_counts"] == {"total": 40, "completed": 40, "failed": 0}
        assert len(refused) == 3
        assert len(asked.all()) == 40


async def test_a_batch_that_comes_further_each_time_is_not_given_up(
    store: Store, gateway: Gateway, stages: LineStages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job fails more often than a job may, but answers are stored in between."""
    real, sent = Batches._send, list[int]()

    async def failing(self: Batches, *arguments: object) -> object:
        outcome = await real(self, *arguments)  # type: ignore[arg-type]
        sent.append(1)
        if len(sent) < 5:
            raise RuntimeError("a bug")
        return outcome

    monkeypatch.setattr(Batches, "_send", failing)
    monkeypatch.setattr("inference.jobs.RETRY_SECONDS", 0.01)
    async with batch_worker(store, gateway, stages) as worker:
        batch = await worker.ended(await worker.create(chat_line(0)))
        assert batch["status"] == "completed"


async def test_a_batch_that_comes_no_further_fails(
    store: Store, gateway: Gateway, stages: LineStages, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Batches, "_send", failing)
    monkeypatch.setattr("inference.jobs.RETRY_SECONDS", 0.01)
    async with batch_worker(store, gateway, stages) as worker:
        batch = await worker.ended(await worker.create(chat_line(0)))
        assert batch["status"] == "failed"
        assert batch["failed_at"] is not None
        (error,) = batch["errors"]["data"]
        assert error["code"] == "server_error"
