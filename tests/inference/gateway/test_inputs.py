"""Inputs that are more than a provider takes at once."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inference.errors import ProviderError, ProviderRejected
from inference.gateway import Gateway, Routes
from inference.gateway.inputs import LITELLM_LIMITS, Limits, limits, split, texts
from inference.gateway.paths import EMBEDDINGS, MODERATIONS
from inference.gateway.routing.targets import Target
from persistence.types import JSON
from tests.provider import ProviderProcess

OPENAI = Target("openai", "openai", "m", base_url="https://api.openai.com/v1")
VLLM = Target("vllm", "openai", "m", base_url="http://127.0.0.1:8000/v1")


@pytest.fixture
async def gateway(tmp_path: Path, provider: ProviderProcess) -> AsyncIterator[Gateway]:
    path = tmp_path / "models.yaml"
    path.write_text(f"""
providers: {{p: {{base_url: "{provider.url}", retries: 1, max_inputs: 3}}}}
models:
  embedder: {{provider: p, kind: embedding}}
  single: {{provider: p, kind: embedding, max_inputs: 1}}
  moderator: {{provider: p}}
""")
    gateway = Gateway(Routes.from_file(path, {}))
    await gateway.open()
    yield gateway
    await gateway.close()


def scripted(tag: str, text: str, turn: JSON | None = None) -> str:
    return f"{text} script: {json.dumps({'tag': tag, 'turns': [turn or {}]})}"


async def test_embeddings_of_many_inputs_are_split_and_keep_their_order(
    gateway: Gateway, provider: ProviderProcess, tag: str
) -> None:
    given = [scripted(tag, f"text{number}") for number in range(10)]
    answer = await gateway.embed({"model": "embedder", "input": given})
    alone = [await gateway.embed({"model": "embedder", "input": text}) for text in given]
    assert [item["index"] for item in answer["data"]] == list(range(10))
    assert [item["embedding"] for item in answer["data"]] == [one["data"][0]["embedding"] for one in alone]
    total = sum(one["usage"]["total_tokens"] for one in alone)
    assert answer["usage"] == {"prompt_tokens": total, "total_tokens": total}
    sizes = [len(each["body"]["input"]) for each in provider.received(tag)[:-10]]
    assert sorted(sizes) == [1, 3, 3, 3]


async def test_lists_of_tokens_are_split_and_the_tokens_of_one_text_are_not(gateway: Gateway) -> None:
    answer = await gateway.embed({"model": "single", "input": [[1, 2], [3], [4, 5, 6]]})
    assert (len(answer["data"]), answer["usage"]["total_tokens"]) == (3, 6)
    assert len((await gateway.embed({"model": "single", "input": [1, 2, 3, 4]}))["data"]) == 1


async def test_a_part_that_fails_fails_the_request(gateway: Gateway, tag: str) -> None:
    bad = scripted(tag, "bad", {"fail": {"status": 400, "message": "no such text"}})
    with pytest.raises(ProviderRejected, match="no such text"):
        await gateway.embed({"model": "single", "input": ["a", bad, "c"]})


async def test_only_the_part_that_failed_is_asked_for_again(
    gateway: Gateway, provider: ProviderProcess, tag: str
) -> None:
    late = {"fail": {"status": 503, "times": 1}, "wait": 0.3}
    given = [scripted(tag, "a"), scripted(tag, "b"), scripted(tag, "c", late)]
    answer = await gateway.embed({"model": "single", "input": given})
    assert len(answer["data"]) == 3
    asked = [each["body"]["input"][0][0] for each in provider.received(tag)]
    assert sorted(asked) == ["a", "b", "c", "c"]


async def test_four_parts_at_most_are_asked_for_at_once(
    gateway: Gateway, provider: ProviderProcess, tag: str
) -> None:
    given = [scripted(tag, str(number), {"wait": 0.02}) for number in range(12)]
    await gateway.embed({"model": "single", "input": given})
    assert len({each["connection"] for each in provider.received(tag)}) <= 4


async def test_moderations_of_many_texts_are_split_and_keep_their_order(
    gateway: Gateway, provider: ProviderProcess, tag: str
) -> None:
    given = [f"violence {tag}" if number == 4 else f"peace {tag}" for number in range(7)]
    answer = await gateway.moderate({"model": "moderator", "input": given})
    assert [result["flagged"] for result in answer["results"]] == [number == 4 for number in range(7)]


async def test_the_parts_of_one_moderated_message_stay_together(gateway: Gateway) -> None:
    given = [{"type": "text", "text": "peace"}] * 5
    answer = await gateway.moderate({"model": "moderator", "input": given})
    assert len(answer["results"]) == 1


async def test_an_error_keeps_its_type_when_inputs_are_split(gateway: Gateway, tag: str) -> None:
    limited = scripted(tag, "x", {"fail": {"status": 429, "retry_after": 99}})
    with pytest.raises(ProviderError) as caught:
        await gateway.embed({"model": "single", "input": ["a", limited]})
    assert (caught.value.status, caught.value.retry_after) == (429, 99)


@pytest.mark.parametrize(
    ("given", "limit", "expected"),
    [
        (["a", "b", "c"], Limits(2), [["a", "b"], ["c"]]),
        (["a", "b", "c"], Limits(), [["a", "b", "c"]]),
        ("text", Limits(1), ["text"]),
        ([1, 2, 3], Limits(1), [[1, 2, 3]]),
        ([[1, 2], [3], [4, 5]], Limits(tokens=3), [[[1, 2], [3]], [[4, 5]]]),
        (["one two", "three four", "five"], Limits(tokens=4), [["one two", "three four"], ["five"]]),
        ([[1] * 9, [2]], Limits(tokens=3), [[[1] * 9], [[2]]]),
    ],
)
async def test_parts_hold_no_more_than_the_limits_allow(given: Any, limit: Limits, expected: Any) -> None:
    assert await split(given, limit) == expected


def test_the_limits_are_the_routes_or_else_the_providers() -> None:
    assert limits(OPENAI, EMBEDDINGS) == Limits(2048, 300_000)
    assert limits(replace(OPENAI, max_inputs=5), EMBEDDINGS) == Limits(5, 300_000)
    assert limits(VLLM, EMBEDDINGS) == Limits()
    assert limits(VLLM, MODERATIONS) == Limits(32)
    assert limits(Target("c", "litellm", "cohere/embed-v4.0"), EMBEDDINGS) == Limits(96)
    assert (
        limits(Target("g", "litellm", "gemini/gemini-embedding-001"), EMBEDDINGS) == LITELLM_LIMITS["gemini"]
    )


def test_tokens_become_texts_for_providers_that_take_no_tokens() -> None:
    assert texts([9906, 1917]) == ["Hello world"]
    assert texts([[9906], [1917]]) == ["Hello", " world"]
    with pytest.raises(ProviderRejected, match="is not a token"):
        texts([[-1]])
