"""How long a JSON text takes to parse is known before it is parsed."""

import json

import pytest

from spec.weight import ESCAPES, takes_long


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
