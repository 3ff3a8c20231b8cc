import base64
from array import array
from typing import Any

import orjson
import pytest

from inference.errors import ProviderBroken
from inference.gateway import ChunkAccumulator
from inference.gateway.answers import normalize
from inference.gateway.routing.targets import Target
from persistence.types import JSON

TARGET = Target("p", "openai", "m")


def test_missing_fields_are_filled_in_and_unknown_ones_stay() -> None:
    bare = {"choices": [{"message": {"content": "x", "reasoning": "y"}}], "usage": None, "timings": 1}
    answer = normalize.completion(bare, TARGET)
    assert answer["id"].startswith("chatcmpl-")
    assert answer["object"] == "chat.completion"
    assert (answer["model"], answer["timings"]) == ("m", 1)
    message = {"role": "assistant", "content": "x", "refusal": None, "reasoning": "y"}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    assert answer["choices"] == [choice]


def test_a_number_that_cannot_be_encoded_again_is_a_float_or_null() -> None:
    body = b'{"ok": 18446744073709551615, "large": 18446744073709551616, "huge": 1%b, "not": NaN}' % (
        b"0" * 400
    )
    answer = orjson.loads(orjson.dumps(normalize.parsed(TARGET, body)))
    assert answer == {"ok": 2**64 - 1, "large": float(2**64), "huge": None, "not": None}


def test_nulls_that_the_schema_forbids_are_left_out() -> None:
    choice = {"message": {"content": "x", "tool_calls": None}, "finish_reason": "stop"}
    answer = normalize.completion(
        {"choices": [choice], "service_tier": None, "system_fingerprint": None}, TARGET
    )
    assert "service_tier" not in answer
    assert "system_fingerprint" not in answer
    assert "tool_calls" not in answer["choices"][0]["message"]


async def test_floats_and_base64_are_converted() -> None:
    vector = [0.5, -1.0, 2.0]
    encoded = base64.b64encode(array("f", vector).tobytes()).decode()
    as_base64 = await normalize.embeddings(
        orjson.dumps({"data": [{"embedding": vector}]}), TARGET, "base64", 1
    )
    as_floats = await normalize.embeddings(
        orjson.dumps({"data": [{"embedding": encoded}]}), TARGET, "float", 1
    )
    assert as_base64["data"][0]["embedding"] == encoded
    assert as_floats["data"][0]["embedding"] == vector


async def test_embeddings_have_the_order_of_the_input() -> None:
    data = [{"index": place, "embedding": [float(place)]} for place in (2, 0, 1)]
    answer = await normalize.embeddings(orjson.dumps({"data": data}), TARGET, "float", 3)
    assert [item["embedding"] for item in answer["data"]] == [[0.0], [1.0], [2.0]]
    assert answer["usage"] == {"prompt_tokens": 0, "total_tokens": 0}


@pytest.mark.parametrize("spaces", ["", " \n"])
async def test_large_embeddings_are_read_vector_by_vector(spaces: str) -> None:
    vectors = [[place + number / 1000 for number in range(1000)] for place in range(200)]
    data = [{"text": '"embedding": [', "embedding": vector} for vector in vectors]
    body = orjson.dumps({"data": data}).replace(b'"embedding":', f'"embedding"{spaces}:{spaces}'.encode())
    answer = await normalize.embeddings(body, TARGET, "float", len(data))
    assert [item["embedding"] for item in answer["data"]] == vectors


async def test_a_large_embedding_of_other_things_is_a_providers_error() -> None:
    data = [{"embedding": ["vector:0"] * 100_000}]
    with pytest.raises(ProviderBroken):
        await normalize.embeddings(orjson.dumps({"data": data}), TARGET, "float", 1)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        [{"embedding": [1.0]}] * 2,
        [{"embedding": 1}],
        [{}],
        ["x"],
        [{"embedding": ["a"]}],
        [{"embedding": []}],
        [{"embedding": [None]}],
        [{"embedding": [1e308]}],
        [{"embedding": "no base64!"}],
    ],
)
async def test_unreadable_embeddings_are_a_providers_error(data: Any) -> None:
    with pytest.raises(ProviderBroken):
        await normalize.embeddings(orjson.dumps({"data": data}), TARGET, "float", 1)


@pytest.mark.parametrize(
    "fields",
    [{"audio": "x"}, {"annotations": "x"}, {"function_call": "x"}, {"images": ["x"]}, {"refusal": {}}],
)
def test_unreadable_fields_of_a_message_are_a_providers_error(fields: JSON) -> None:
    with pytest.raises(ProviderBroken, match="cannot be read"):
        normalize.completion({"choices": [{"message": {"content": "x", **fields}}]}, TARGET)


@pytest.mark.parametrize(
    "logprobs",
    [
        "x",
        {"content": ["x"]},
        {"content": [{"logprob": -1}]},
        {"content": [{"token": "x", "logprob": "x"}]},
        {"content": [{"token": "x", "logprob": -1, "top_logprobs": [{}]}]},
    ],
)
def test_unreadable_logprobs_are_a_providers_error(logprobs: Any) -> None:
    with pytest.raises(ProviderBroken, match="cannot be read"):
        normalize.completion({"choices": [{"message": {"content": "x"}, "logprobs": logprobs}]}, TARGET)


def test_negative_counts_are_zero() -> None:
    usage = {"prompt_tokens": -1, "completion_tokens": 2, "total_tokens": -1}
    answer = normalize.completion({"choices": [{"message": {"content": "x"}}], "usage": usage}, TARGET)
    assert answer["usage"] == {"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 2}


def chunk(delta: JSON, index: int = 0, **fields: Any) -> JSON:
    return {"id": "c", "created": 1, "model": "m", "choices": [{"index": index, "delta": delta, **fields}]}


def test_chunks_accumulate_into_a_completion() -> None:
    accumulator = ChunkAccumulator()
    accumulator.add(chunk({"role": "assistant", "content": ""}))
    accumulator.add(chunk({"content": "Hel"}, logprobs={"content": [{"token": "Hel"}]}))
    accumulator.add(chunk({"content": "lo"}, logprobs={"content": [{"token": "lo"}]}))
    accumulator.add(chunk({"content": "Other"}, index=1, finish_reason="length"))
    accumulator.add(chunk({}, finish_reason="stop"))
    accumulator.add({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}})
    completion = accumulator.completion()
    first, second = completion["choices"]
    assert first["message"] == {"role": "assistant", "content": "Hello", "refusal": None}
    assert [token["token"] for token in first["logprobs"]["content"]] == ["Hel", "lo"]
    assert (first["finish_reason"], second["finish_reason"]) == ("stop", "length")
    assert completion["usage"]["total_tokens"] == 3


def test_tool_calls_accumulate_by_their_index() -> None:
    accumulator = ChunkAccumulator()
    for delta in [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"x":'}},
        {"index": 1, "function": {"arguments": "{}"}},
        {"index": 0, "function": {"arguments": "1}"}},
    ]:
        accumulator.add(chunk({"tool_calls": [delta]}))
    (choice,) = accumulator.completion()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
