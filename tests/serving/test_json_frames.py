"""A value is the same after it went through frames, which are small."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import json_frames
from serving.json_frames import from_frames, to_frames

TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | TEXTS,
    lambda members: st.lists(members) | st.dictionaries(TEXTS, members),
    max_leaves=60,
)


@pytest.fixture(scope="module", autouse=True)
def small_frames() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_frames, "FRAME", 5)
        patch.setattr(json_frames, "CHARACTERS", 3)
        yield


@given(VALUES.filter(lambda value: value not in (float("inf"), -float("inf"))))
def test_frames_hold_the_value(value: Any) -> None:
    plain = orjson.loads(orjson.dumps(value))
    assert orjson.dumps(from_frames(to_frames(plain))) == orjson.dumps(plain)


def test_frames_are_small() -> None:
    frames = list(to_frames({"a": [{"b": [1, 2]}] * 100, "c": "d" * 300}))
    assert len(frames) > 70
    assert max(map(len, frames)) < 40
