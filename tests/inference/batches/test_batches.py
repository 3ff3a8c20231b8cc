"""What becomes of the lines of a batch, on every engine."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from inference.batches.errors import BatchNotCancellable
from inference.batches.sending import SendingOptions
from inference.gateway import Gateway
from persistence.collections import BATCH_SEGMENTS
from persistence.store import Store
from serving.line_caller import LineStages
from tests.contract.engines import ENGINES
from tests.inference.batches.worker import BatchWorker, batch_worker, chat_line
from tests.inference.engine.conftest import Asked
from tests.inference.engine.process import script

pytestmark = [pytest.mark.timeout(120), pytest.mark.parametrize("store", ENGINES, indirect=True)]


FIELDS = {
    "id",
    "object",
    "endpoint",
    "model",
    "errors",
    "input_file_id",
    "completion_window",
    "status",
    "output_file_id",
    "error_file_id",
    "created_at",
    "in_progress_at",
    "expires_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
    "request_counts",
    "usage",
    "metadata",
}
"""What the service's batches have, whatever became of them."""


@pytest.fixture
async def worker(store: Store, gateway: Gateway, stages: LineStages) -> AsyncIterator[BatchWorker]:
    async with batch_worker(store, gateway, stages) as worker:
        yield worker


def ids_of(lines: list[dict[str, str]]) -> list[str]:
    return sorted(line["custom_id"] for line in lines)


async def test_every_line_is_answered_once(worker: BatchWorker) -> None:
    id = await worker.create(*(chat_line(number) for number in range(300)), metadata={"of": "tests"})
    batch = await worker.ended(id)
    assert batch["status"] == "completed"
    assert batch["model"] == "m"
    assert batch["metadata"] == {"of": "tests"}
    assert batch["error_file_id"] is None
    assert batch["request_counts"] == {"total": 300, "completed": 300, "failed": 0}
    assert batch["created_at"] <= batch["in_progress_at"] <= batch["finalizing_at"] <= batch["completed_at"]
    assert batch.keys() == FIELDS
    lines = await worker.lines(batch["output_file_id"])
    assert ids_of(lines) == sorted(f"r{number}" for number in range(300))
    for line in lines:
        assert line["id"].startswith("batch_req_")
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        assert line["response"]["request_id"]
        said = line["response"]["body"]["choices"][0]["message"]["content"]
        assert said == f"You said: line {line['custom_id'][1:]}"
    usages = [line["response"]["body"]["usage"] for line in lines]
    assert batch["usage"]["input_tokens"] == sum(usage["prompt_tokens"] for usage in usages)
    assert batch["usage"]["total_tokens"] == sum(usage["total_tokens"] for usage in usages) > 0


async def test_a_line_that_is_refused_is_in_the_error_file(worker: BatchWorker) -> None:
    fail = {"fail": {"status": 400, "message": "No.", "code": "not_now", "type": "invalid_request_error"}}
    batch = await worker.ended(await worker.create(chat_line(0), chat_line(1, script(fail))))
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    (output,), (error,) = [await worker.lines(batch[f"{name}_file_id"]) for name in ("output", "error")]
    assert (output["custom_id"], error["custom_id"]) == ("r0", "r1")
    assert error["error"] is None
    assert error["response"]["status_code"] == 400
    assert error["response"]["body"]["error"]["message"] == "No."


async def test_a_line_is_sent_again_while_the_provider_is_busy(worker: BatchWorker, asked: Asked) -> None:
    fail = {"status": 429, "times": 4, "retry_after": 0}
    said = "script: " + json.dumps({"tag": asked.tag, "turns": [{"text": "At last.", "fail": fail}]})
    batch = await worker.ended(await worker.create(chat_line(0, said)))
    (line,) = await worker.lines(batch["output_file_id"])
    assert line["response"]["body"]["choices"][0]["message"]["content"] == "At last."
    assert len(asked.all()) == 5


async def test_a_batch_that_is_cancelled_writes_what_was_answered(worker: BatchWorker) -> None:
    slow = script({"text": "Late.", "wait": 3600})
    id = await worker.create(*(chat_line(n) for n in range(4)), *(chat_line(n, slow) for n in range(4, 40)))
    async with asyncio.timeout(20):
        while (await worker.get(id))["request_counts"]["completed"] < 4:
            await asyncio.sleep(0.02)
    assert (await worker.batches.cancel("p", id))["status"] == "cancelling"
    assert (await worker.batches.cancel("p", id))["status"] == "cancelling"
    batch = await worker.ended(id)
    assert batch["status"] == "cancelled"
    assert batch["cancelling_at"] <= batch["cancelled_at"]
    assert batch["error_file_id"] is None
    assert batch["request_counts"] == {"total": 40, "completed": 4, "failed": 0}
    assert ids_of(await worker.lines(batch["output_file_id"])) == ["r0", "r1", "r2", "r3"]
    with pytest.raises(BatchNotCancellable, match="Cannot cancel a batch with status 'cancelled'"):
        await worker.batches.cancel("p", id)


async def test_lines_that_a_batch_has_no_time_for_have_expired(
    store: Store, gateway: Gateway, stages: LineStages
) -> None:
    slow = script({"text": "Late.", "wait": 3600})
    lines = [*(chat_line(n) for n in range(3)), *(chat_line(n, slow) for n in range(3, 30))]
    options = SendingOptions(patience=0.1)
    async with batch_worker(store, gateway, stages, window=3, options=options) as worker:
        batch = await worker.ended(await worker.create(*lines))
        assert batch["status"] == "expired"
        assert batch["expired_at"] >= batch["expires_at"]
        assert batch["request_counts"] == {"total": 30, "completed": 3, "failed": 27}
        assert ids_of(await worker.lines(batch["output_file_id"])) == ["r0", "r1", "r2"]
        errors = await worker.lines(batch["error_file_id"])
        assert ids_of(errors) == sorted(f"r{number}" for number in range(3, 30))
        assert {line["error"]["code"] for line in errors} == {"batch_expired"}
        assert {line["response"] for line in errors} == {None}


async def test_the_input_file_may_be_deleted_while_its_batch_runs(worker: BatchWorker) -> None:
    waiting = script({"text": "Here.", "wait": 1})
    file = await worker.file("".join(json.dumps(chat_line(n, waiting)) + "\n" for n in range(20)))
    id = await worker.create_of(file)
    await worker.when(id, "in_progress")
    await worker.retrieval.files.delete("p", file.id)
    batch = await worker.ended(id)
    assert batch["request_counts"] == {"total": 20, "completed": 20, "failed": 0}


async def test_what_a_batch_needed_is_deleted_at_its_end(worker: BatchWorker) -> None:
    id = await worker.create(*(chat_line(number) for number in range(50)))
    await worker.ended(id)
    async with asyncio.timeout(10):
        while (await worker.store.page("p", BATCH_SEGMENTS, id)).documents or worker.jobs.running:
            await asyncio.sleep(0.02)


async def test_an_answer_of_megabytes_has_a_content_of_its_own(worker: BatchWorker) -> None:
    large = script({"text": "All work and no play. ", "repeat": 80_000, "chunks": 1})
    batch = await worker.ended(await worker.create(chat_line(0, large), chat_line(1)))
    first, second = sorted(await worker.lines(batch["output_file_id"]), key=lambda line: line["custom_id"])
    assert len(first["response"]["body"]["choices"][0]["message"]["content"]) == 80_000 * 22
    assert second["response"]["status_code"] == 200


async def test_a_worker_that_stops_leaves_the_rest_to_another(
    store: Store, gateway: Gateway, stages: LineStages
) -> None:
    waiting = script({"text": "Here.", "wait": 0.3})
    async with batch_worker(store, gateway, stages) as first:
        id = await first.create(*(chat_line(number, waiting) for number in range(60)))
        await first.when(id, "in_progress")
        await first.jobs.stop(5)
    async with batch_worker(store, gateway, stages) as second:
        batch = await second.ended(id)
        assert batch["request_counts"] == {"total": 60, "completed": 60, "failed": 0}
        lines = await second.lines(batch["output_file_id"])
        assert ids_of(lines) == sorted(f"r{number}" for number in range(60))
