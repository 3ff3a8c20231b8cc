from typing import Any

import pytest

from inference.retrieval.errors import RequestRefused
from inference.retrieval.filters import MAX_DEPTH, parse_filter
from persistence.store import Comparison, Compound
from persistence.types import JSON


def nested(depth: int) -> JSON:
    value: JSON = {"type": "eq", "key": "a", "value": 1}
    for _ in range(depth):
        value = {"type": "and", "filters": [value]}
    return value


def test_filters_become_the_stores() -> None:
    value = {
        "type": "and",
        "filters": [
            {"type": "in", "key": "region", "value": ["eu", "us"]},
            {
                "type": "or",
                "filters": [
                    {"type": "gte", "key": "year", "value": 2020},
                    {"type": "eq", "key": "draft", "value": False},
                ],
            },
        ],
    }
    assert parse_filter(value) == Compound(
        "and",
        (
            Comparison("in", "region", ("eu", "us")),
            Compound("or", (Comparison("gte", "year", 2020), Comparison("eq", "draft", False))),
        ),
    )


def test_filters_may_be_nested_eight_deep() -> None:
    parse_filter(nested(MAX_DEPTH))


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ("eq", "filters"),
        ([], "filters"),
        ({"key": "a", "value": 1}, "filters.type"),
        ({"type": "like", "key": "a", "value": 1}, "filters.type"),
        ({"type": "eq", "value": 1}, "filters.key"),
        ({"type": "eq", "key": "", "value": 1}, "filters.key"),
        ({"type": "eq", "key": "a"}, "filters.value"),
        ({"type": "eq", "key": "a", "value": None}, "filters.value"),
        ({"type": "eq", "key": "a", "value": {"b": 1}}, "filters.value"),
        ({"type": "eq", "key": "a", "value": [1]}, "filters.value"),
        ({"type": "gt", "key": "a", "value": True}, "filters.value"),
        ({"type": "in", "key": "a", "value": 1}, "filters.value"),
        ({"type": "in", "key": "a", "value": [{}]}, "filters.value"),
        ({"type": "in", "key": "a", "value": list(range(101))}, "filters.value"),
        ({"type": "or", "filters": []}, "filters.filters"),
        ({"type": "or"}, "filters.filters"),
        ({"type": "or", "filters": [nested(0), {"type": "eq"}]}, "filters.filters[1].key"),
        ({"type": "or", "filters": [nested(0)] * 101}, "filters.filters[100]"),
        (nested(50), "filters" + ".filters[0]" * MAX_DEPTH),
    ],
)
def test_a_wrong_filter_names_the_field(value: Any, param: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        parse_filter(value)
    assert caught.value.param == param
