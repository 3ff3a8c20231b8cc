"""Input tokens: counted of what a response would send, without sending or storing anything."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from handlers import response_input_tokens
from handlers.errors import BadRequest
from inference import tokens
from inference.gateway import Gateway
from inference.responses.errors import ResponseNotFound
from inference.responses.input_tokens import COUNTED_AT_ONCE
from persistence.store import Store
from persistence.types import JSON
from tests.inference.engine.process import script
from tests.inference.responses.worker import Worker, worker

TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture
async def one(store: Store, gateway: Gateway) -> AsyncIterator[Worker]:
    async with worker(store, gateway) as one:
        yield one


async def count(one: Worker, input: Any = None, **fields: Any) -> int:
    body = {"model": "m", "input": input, **fields}
    counted = await response_input_tokens.get_input_token_counts(one.context(), body)
    assert counted == {**counted, "object": "response.input_tokens", "counted_by": "tiktoken"}
    return int(counted["input_tokens"])


def parts(*given: JSON) -> list[JSON]:
    return [{"role": "user", "content": list(given)}]


def data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


async def test_texts_instructions_and_tools_are_counted(one: Worker) -> None:
    text = "The sea is green. " * 500
    plain = await count(one, text)
    assert plain == pytest.approx(tokens.count(text), abs=10)
    assert await count(one, "x") == 5
    assert await count(one, text, instructions=text) == pytest.approx(2 * plain, abs=10)
    assert await count(one, text, tools=[TOOL]) > plain + 10
    schema = {"type": "json_schema", "name": "s", "schema": {"type": "object"}}
    assert await count(one, text, text={"format": schema}) > plain + 10


async def test_without_a_model_the_input_is_counted(one: Worker) -> None:
    assert await count(one, "One two three.", model=None) == await count(one, "One two three.")


async def test_images_have_a_price_by_their_detail(one: Worker) -> None:
    image = {"type": "input_image", "image_url": data_url("image/png", b"\x89PNG")}
    counts = [await count(one, parts({**image, "detail": detail})) for detail in ("low", "high", "auto")]
    assert [each - 4 for each in counts] == [85, 1105, 1105]


async def test_the_texts_of_files_are_counted_and_not_their_bytes(one: Worker) -> None:
    text = "The sea is green. " * 500
    file = {"type": "input_file", "filename": "a.txt", "file_data": data_url("text/plain", text.encode())}
    assert await count(one, parts(file)) == pytest.approx(tokens.count(text), rel=0.02)
    broken = {"type": "input_file", "filename": "a.pdf", "file_data": data_url("application/pdf", b"no")}
    assert await count(one, parts(broken)) < 40


async def test_what_a_chain_and_a_conversation_hold_is_counted_too(one: Worker, store: Store) -> None:
    text = "The sea is green. " * 500
    first = await one.create(text)
    conversation = await one.conversation()
    await one.create(text, conversation=conversation)
    before = [place async for place, _ in store.export()]
    alone = await count(one, "And now?")
    chained = await count(one, "And now?", previous_response_id=first["id"])
    assert chained > alone + tokens.count(text)
    assert await count(one, "And now?", conversation=conversation) == chained
    assert [place async for place, _ in store.export()] == before


async def test_what_cannot_be_asked_cannot_be_counted(one: Worker) -> None:
    with pytest.raises(ResponseNotFound):
        await count(one, "x", previous_response_id="resp_nope")
    with pytest.raises(BadRequest, match="personality"):
        await count(one, "x", personality="friendly")


async def test_nothing_is_asked_of_the_model(one: Worker) -> None:
    assert await count(one, script({"fail": {"status": 500}})) > 0


async def test_a_file_that_is_no_base64_counts_as_empty(one: Worker) -> None:
    file = {"type": "input_file", "file_data": "data:text/plain;base64,é", "filename": "a.txt"}

    assert await count(one, [{"role": "user", "content": [file]}]) > 0


async def test_a_long_text_is_counted_in_slices(one: Worker) -> None:
    text = "word " * (COUNTED_AT_ONCE // 5 + 10)
    assert await count(one, text) - await count(one, "") == pytest.approx(tokens.count(text), abs=30)


async def test_counting_leaves_the_event_loops_threads_to_others(one: Worker) -> None:
    counts = [asyncio.create_task(count(one, "word " * 200_000)) for _ in range(40)]
    await asyncio.wait(counts, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.to_thread(str)
    assert not all(each.done() for each in counts)
    for each in counts:
        each.cancel()
    await asyncio.gather(*counts, return_exceptions=True)
