"""Input files that are no batch: each error names its line."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inference.batches import validation
from inference.batches.lines import LineSplitter
from inference.gateway import Gateway
from persistence.store import Store
from persistence.types import JSON
from serving.line_caller import LineStages
from tests.inference.batches.worker import CHAT, BatchWorker, batch_worker, chat_line, jsonl
from tests.memory import resident

MEGABYTE = 1024 * 1024


@pytest.fixture
async def worker(store: Store, gateway: Gateway, stages: LineStages) -> AsyncIterator[BatchWorker]:
    async with batch_worker(store, gateway, stages) as worker:
        yield worker


def without(name: str) -> JSON:
    line = chat_line(1)
    del line[name]
    return line


def changed(**members: Any) -> JSON:
    return {**chat_line(1), **members}


async def errors_of(worker: BatchWorker, *lines: JSON | str, endpoint: str = CHAT) -> list[JSON]:
    """Return the errors of a batch of these lines, which has failed."""
    batch = await worker.ended(await worker.create(*lines, endpoint=endpoint))
    assert batch["status"] == "failed", batch
    assert batch["failed_at"] is not None
    assert (batch["output_file_id"], batch["error_file_id"]) == (None, None)
    assert batch["errors"]["object"] == "list"
    errors: list[JSON] = batch["errors"]["data"]
    return errors


@pytest.mark.parametrize(
    ("line", "code", "param", "message"),
    [
        ("{broken", "invalid_json_line", None, "This line is not parseable as valid JSON."),
        ("[1]", "invalid_json_line", None, "This line is not a JSON object."),
        (
            "\ufeff" + json.dumps(chat_line(1)),
            "invalid_json_line",
            None,
            "This line begins with a byte order",
        ),
        ("\v" + json.dumps(chat_line(1)), "invalid_json_line", None, "This line is not parseable as valid"),
        ('{"a": "\\u0000"}', "invalid_json_line", "a", "This line is not parseable as valid JSON."),
        (without("custom_id"), "missing_required_parameter", "custom_id", "Missing required parameter"),
        (without("method"), "missing_required_parameter", "method", "Missing required parameter"),
        (without("url"), "missing_required_parameter", "url", "Missing required parameter"),
        (without("body"), "missing_required_parameter", "body", "Missing required parameter"),
        (changed(custom_id=7), "invalid_value", "custom_id", "Invalid 'custom_id'"),
        (changed(custom_id="x" * 600), "invalid_value", "custom_id", "Invalid 'custom_id'"),
        (
            changed(custom_id="r0"),
            "duplicate_custom_id",
            "custom_id",
            "The custom_id 'r0' is that of another",
        ),
        (changed(method="GET"), "invalid_method", "method", "Invalid 'method'"),
        (changed(url="/v1/embeddings"), "invalid_url", "url", "The URL provided for this request does not"),
        (changed(url="/v2/nothing"), "invalid_url", "url", "The URL provided for this request does not"),
        (changed(body=[]), "invalid_type", "body", "Invalid type for 'body'"),
        (chat_line(1, model="other"), "mismatched_model", "body.model", "All requests of a batch must name"),
        (chat_line(1, stream=True), "unsupported_parameter", "body.stream", "Streaming is not supported"),
        (chat_line(1, n="many"), "invalid_type", "body.n", "Invalid type for 'n'"),
        (changed(body={"model": "m"}), "missing_required_parameter", "body.messages", "Missing required"),
    ],
)
async def test_a_wrong_line_fails_the_batch_and_is_named(
    worker: BatchWorker, line: JSON | str, code: str, param: str | None, message: str
) -> None:
    (error,) = await errors_of(worker, chat_line(0), line, chat_line(2))
    assert (error["code"], error["line"], error["param"]) == (code, 2, param)
    assert error["message"].startswith(message)


async def test_every_wrong_line_is_named(worker: BatchWorker) -> None:
    lines = [chat_line(0), "nonsense", "", changed(method="PUT"), chat_line(0)]
    errors = await errors_of(worker, *lines)
    assert [(error["line"], error["code"]) for error in errors] == [
        (2, "invalid_json_line"),
        (4, "invalid_method"),
        (5, "duplicate_custom_id"),
    ]


async def test_a_file_that_is_all_wrong_names_a_hundred_errors(worker: BatchWorker) -> None:
    errors = await errors_of(worker, *["nonsense"] * 1000)
    assert [error["line"] for error in errors] == [*range(1, 101)]


@pytest.mark.parametrize("text", ["", "\n", "  \n\r\n\n"])
async def test_a_file_without_requests_fails(worker: BatchWorker, text: str) -> None:
    batch = await worker.ended(await worker.create_of(await worker.file(text)))
    assert [error["code"] for error in batch["errors"]["data"]] == ["empty_file"]


async def test_a_response_in_the_background_is_refused(worker: BatchWorker) -> None:
    body = {"model": "m", "input": "Hi", "background": True}
    line = changed(url="/v1/responses", body=body)
    (error,) = await errors_of(worker, line, endpoint="/v1/responses")
    assert (error["code"], error["param"]) == ("unsupported_parameter", "body.background")


async def test_a_file_of_more_lines_than_a_batch_takes_fails(
    worker: BatchWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "MAX_LINES", 10)
    (error,) = await errors_of(worker, *(chat_line(number) for number in range(11)))
    assert (error["code"], error["line"]) == ("too_many_requests", None)


async def test_a_last_line_needs_no_line_break_and_blank_lines_are_none(worker: BatchWorker) -> None:
    text = f"\n{json.dumps(chat_line(0))}\r\n\n{json.dumps(chat_line(1))}"
    batch = await worker.ended(await worker.create_of(await worker.file(text)))
    assert batch["request_counts"] == {"total": 2, "completed": 2, "failed": 0}


async def test_one_line_of_200_megabytes_is_refused_in_bounded_memory(worker: BatchWorker) -> None:
    line = json.dumps(chat_line(0, "x" * 198 * MEGABYTE)).encode()
    file = await worker.file(line)
    del line
    before = resident()
    batch = await worker.ended(await worker.create_of(file))
    assert [error["code"] for error in batch["errors"]["data"]] == ["line_too_long"]
    assert resident() - before < 50 * MEGABYTE


async def test_a_file_of_more_than_200_megabytes_fails(
    worker: BatchWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.batches.batches.MAX_BYTES", 1000)
    errors = await errors_of(worker, *(chat_line(number) for number in range(20)))
    assert [error["code"] for error in errors] == ["file_too_large"]


async def test_a_line_of_many_values_is_validated_too(worker: BatchWorker) -> None:
    tokens = {"model": "m", "input": [1] * 200_000}
    line = changed(url="/v1/embeddings", body=tokens)
    (error,) = await errors_of(worker, line, endpoint="/v1/embeddings")
    assert error["param"] == "body.input"


def test_lines_are_the_same_however_the_file_is_cut() -> None:
    text = b"one\n\n two\r\nthree and more\n" + b"x" * 40 + b"\nlast"

    def lines(size: int) -> list[tuple[int, int, int, bytes | None]]:
        splitter, found = LineSplitter(20), []
        for start in range(0, len(text), size):
            found += splitter.feed(text[start : start + size])
        found += splitter.finish()
        return [(line.number, line.start, line.end, line.raw) for line in found]

    whole = lines(1000)
    assert [(number, raw) for number, _, _, raw in whole] == [
        (1, b"one"),
        (3, b" two\r"),
        (4, b"three and more"),
        (5, None),
        (6, b"last"),
    ]
    assert all(text[start:end] == raw + b"\n" for _, start, end, raw in whole[:-1] if raw is not None)
    for size in range(1, 30):
        assert lines(size) == whole


async def test_validation_leaves_the_loop_its_turn(worker: BatchWorker) -> None:
    file = await worker.file(jsonl(*(chat_line(number, "x" * 500) for number in range(5000))))
    id = await worker.create_of(file)
    longest, last = 0.0, time.perf_counter()
    while (await worker.get(id))["status"] == "validating":
        await asyncio.sleep(0.005)
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
    assert longest < 0.5
    await worker.batches.cancel("p", id)
    await worker.ended(id)
