"""Large JSON is encoded and decoded as orjson does it, in slices."""

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence import large_json

TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | TEXTS,
    lambda members: st.lists(members) | st.dictionaries(TEXTS, members),
    max_leaves=60,
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "_LARGE_WEIGHT": 3,
        "_CHARACTERS": 2,
        "SLICE": 5,
        "LARGE_BYTES": 5,
        "SECONDS": 0.0,
    }.items():
        monkeypatch.setattr(large_json, name, value)


@pytest.mark.usefixtures("small")
def test_every_value_is_encoded_and_decoded_as_by_orjson() -> None:
    @given(VALUES)
    def check(value: Any) -> None:
        data = orjson.dumps(value)
        assert asyncio.run(large_json.dumps(value)) == data
        assert orjson.dumps(asyncio.run(large_json.loads(data))) == orjson.dumps(orjson.loads(data))

    check()


async def turns_during(work: Any) -> int:
    """Return how often another coroutine has its turn while `work` is awaited."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await work
    counting.cancel()
    return turns


async def test_other_coroutines_have_their_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_json, "SECONDS", 0.0)
    text = "aé漢😀" * 1_000_000
    assert await turns_during(large_json.dumps([text])) > 20
    assert await turns_during(large_json.loads(orjson.dumps([text]))) > 50
    assert await turns_during(large_json.dumps([[0.5] * 1000] * 1000)) > 500


async def test_small_values_are_encoded_at_once() -> None:
    assert await turns_during(large_json.dumps({"a": ["b"]})) == 0
