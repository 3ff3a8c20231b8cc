"""How long a JSON text takes to parse is known before it is parsed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spec.weight import ESCAPES, count_outside_strings, takes_long

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda members: st.lists(members) | st.dictionaries(st.text(max_size=5), members),
)


def counted(value: Any) -> int:
    """The containers, and the members of each beyond its first."""
    if not isinstance(value, dict | list):
        return 0
    members = value.values() if isinstance(value, dict) else value
    return 1 + max(0, len(value) - 1) + sum(counted(member) for member in members)


@given(VALUES, st.booleans())
def test_values_are_counted_and_those_inside_of_texts_are_not(value: Any, is_ascii: bool) -> None:
    raw = json.dumps(value, ensure_ascii=is_ascii).encode()
    assert sum(count_outside_strings(raw, 10**9, 10**9)) == counted(value)


@pytest.mark.parametrize("unit", [b"1,", b"[", b'{"a":1},', b'"\\"",', rb'"\u00e9",'])
def test_many_values_take_long(unit: bytes) -> None:
    assert takes_long(b"[" + unit * 3000, 2000)
    assert not takes_long(b"[" + unit * 1000, 4000)


def test_texts_full_of_marks_do_not_take_long() -> None:
    text = "Some text, [with] {marks}, and more. " * 100_000
    assert not takes_long(json.dumps([text]).encode(), 10)


def test_texts_full_of_escapes_take_long() -> None:
    raw = json.dumps(["\u00e9" * 100 * ESCAPES]).encode()
    assert takes_long(raw, 99)
    assert not takes_long(raw, 110)
