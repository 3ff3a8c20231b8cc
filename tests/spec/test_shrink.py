"""An invalid value is shrunk without losing its fault or the fault's path."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spec.errors import InvalidRequest
from spec.operation import Operation
from spec.shrink import named_path, shrink, value_at
from spec.validation import RequestValidator

GOOD = {"role": "user", "content": "hi"}
BAD = {"role": "x", "content": "hi"}


def refusal(operation: Callable[[str], Operation], body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        operation("create_chat_completion").bodies["application/json"].check(body)
    return refused.value


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [BAD] * 100_000}, "messages[0].role"),
        ({"messages": [*[GOOD] * 50_000, BAD, *[GOOD] * 5000]}, "messages[50000].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "z"}] * 30}] * 3000},
            "messages[0].content[0].type",
        ),
        ({"messages": [GOOD] * 50_000, "n": "x"}, "n"),
        ({"messages": [{"role": "x" * 10_000_000, "content": ""}]}, "messages[0].role"),
        ({"messages": [GOOD], "logit_bias": {str(number): "x" for number in range(10_000)}}, "logit_bias.0"),
    ],
)
def test_a_large_invalid_request_is_refused_quickly_and_names_the_field(
    operation: Callable[[str], Operation], body: Any, param: str
) -> None:
    begun = time.perf_counter()
    refused = refusal(operation, {"model": "m"} | body)
    # It took a minute without; the bound leaves room for a busy machine.
    assert time.perf_counter() - begun < 10
    assert refused.param == param


def test_a_refusal_states_the_length_that_was_sent(operation: Callable[[str], Operation]) -> None:
    refused = refusal(operation, {"model": "m", "messages": [GOOD], "stop": ["a"] * 1000})
    assert "array with length 1000" in refused.message
    refused = refusal(operation, {"model": "m", "messages": [GOOD], "metadata": {"k": "v" * 100_000}})
    assert "string with length 100000" in refused.message


NUMBERS = {
    "type": "array",
    "minItems": 2,
    "maxItems": 3000,
    "items": {"type": "array", "items": {"type": "integer"}},
}


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 2000), st.integers(0, 5), st.data())
def test_the_named_item_is_an_invalid_one(length: int, width: int, data: st.DataObject) -> None:
    rows: list[list[Any]] = [[0] * (width + 1) for _ in range(length)]
    wrong = {
        (data.draw(st.integers(0, length - 1)), data.draw(st.integers(0, width)))
        for _ in range(data.draw(st.integers(1, 3)))
    }
    for row, column in wrong:
        rows[row][column] = "x"
    with pytest.raises(InvalidRequest) as refused:
        RequestValidator(NUMBERS, {}).check(rows)
    assert refused.value.param in {f"[{row}][{column}]" for row, column in wrong}


def test_the_shrunk_value_is_invalid_too() -> None:
    def fits(value: Any) -> bool:
        return "x" not in value["a"][-1:] and len(value["b"]) <= 500

    for value in ({"a": [*["y"] * 900, "x"], "b": []}, {"a": [], "b": [1] * 501}):
        small = shrink(value, fits)
        assert not fits(small.value)
    assert shrink({"a": [*["y"] * 900, "x"], "b": []}, fits).original(("a", 0))[1] > 800


def test_numeric_property_names_stay_text() -> None:
    value = {"a": {"7": [{"0": 1}]}}
    assert named_path(("a", 7, 0, 0), value) == ("a", "7", 0, "0")
    assert value_at(value, ("a", "7", 0, "0")) == 1
    assert value_at(value, ("a", "8", 0)) is None
