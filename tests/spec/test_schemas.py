"""Schemas of requests are closed to unknown fields; those of responses are completed and checked."""

from collections.abc import Callable
from typing import Any

import pytest

from spec.errors import InvalidRequest, InvalidResponse
from spec.operation import Operation
from spec.types import JSON
from spec.validation import RequestValidator, ResponseValidator

COMPONENTS = {
    "Base": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    "Map": {"type": "object", "additionalProperties": {"type": "integer"}},
    "Free": {"type": "object"},
    "Tree": {
        "type": "object",
        "properties": {"of": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}},
    },
}
BASE = {"$ref": "#/components/schemas/Base"}
B = {"type": "object", "properties": {"b": {"type": "string"}}}

CLOSED: list[tuple[Any, Any, str | None]] = [
    (BASE, {"a": "", "b": 1}, "b"),
    ({"allOf": [BASE, B]}, {"a": "", "b": ""}, None),
    ({"allOf": [BASE, B]}, {"a": "", "c": ""}, "c"),
    ({"anyOf": [BASE, B]}, {"a": "", "b": ""}, "b"),
    ({"anyOf": [BASE, {"type": "null"}]}, {"a": "", "b": ""}, "b"),
    ({**B, "allOf": [BASE]}, {"a": "", "b": ""}, None),
    (
        {**B, "allOf": [{"anyOf": [BASE, {"type": "object", "properties": {"c": {}}}]}]},
        {"b": "", "a": ""},
        None,
    ),
    ({**B, "anyOf": [BASE, {"type": "object", "properties": {"c": {}}}]}, {"b": "", "c": ""}, None),
    ({**B, "anyOf": [BASE, {"type": "object", "properties": {"c": {}}}]}, {"b": "", "d": ""}, "d"),
    ({**B, "anyOf": [{"required": ["b"]}, {"required": ["c"]}]}, {"b": "", "d": ""}, "d"),
    ({**BASE, "default": {}}, {"a": "", "b": ""}, "b"),
    ({"type": "array", "items": BASE}, [{"a": "", "b": ""}], "[0].b"),
    ({"type": "object", "properties": {"x": BASE}}, {"x": {"a": "", "b": ""}}, "x.b"),
    ({"$ref": "#/components/schemas/Map"}, {"anything": 1}, None),
    ({"$ref": "#/components/schemas/Free"}, {"anything": "x"}, None),
    ({"allOf": [B, {"$ref": "#/components/schemas/Free"}]}, {"b": "", "c": 1}, "c"),
    ({**B, "additionalProperties": True}, {"c": 1}, None),
    ({"allOf": [{**B, "additionalProperties": False}, BASE]}, {"a": "", "b": ""}, None),
    ({"$ref": "#/components/schemas/Tree"}, {"of": [{"of": [{"x": 1}]}]}, "of[0].of[0].x"),
    (True, {"anything": 1}, None),
]


@pytest.mark.parametrize(("schema", "value", "param"), CLOSED)
def test_a_request_schema_is_closed_to_unknown_fields(schema: Any, value: Any, param: str | None) -> None:
    validator = RequestValidator(schema, COMPONENTS)
    if param is None:
        validator.check(value)
        return
    with pytest.raises(InvalidRequest) as refused:
        validator.check(value)
    assert (refused.value.param, refused.value.code) == (param, "unknown_parameter")


# --- responses ---

ANSWER = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "kind": {"type": "string", "enum": ["a"]},
        "part": {"allOf": [BASE]},
        "must": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "inner": {"anyOf": [{"$ref": "#/components/schemas/Inner"}, {"type": "null"}]},
    },
    "required": ["id", "must"],
    "additionalProperties": False,
}
INNER = {
    "Inner": {"type": "object", "properties": {"x": {"type": ["integer", "null"]}}, "required": ["x"]},
    **COMPONENTS,
}


@pytest.mark.parametrize(
    ("value", "own", "relayed"),
    [
        ({"id": "1", "must": None}, None, None),
        ({"id": "1", "must": None, "kind": None, "part": None}, None, None),
        ({"id": None, "must": None}, "id", "id"),
        ({"id": "1", "must": None, "kind": "b"}, "kind", "kind"),
        ({"id": "1", "must": None, "part": {"a": None}}, "part.a", "part.a"),
        ({"id": "1"}, "must", "must"),
        ({"id": "1", "must": None, "more": 1}, "more", None),
    ],
)
def test_an_optional_property_of_a_response_may_be_null(
    value: Any, own: str | None, relayed: str | None
) -> None:
    validator = ResponseValidator(ANSWER, COMPONENTS | INNER)
    for one, param in ((validator, own), (validator.relayed, relayed)):
        if param is None:
            one.check(value)
            assert one.is_valid(value)
        else:
            with pytest.raises(InvalidResponse) as refused:
                one.check(value)
            assert refused.value.param == param


def test_properties_that_a_provider_omits_become_null() -> None:
    validator = ResponseValidator(ANSWER, COMPONENTS | INNER).relayed
    value: JSON = {"id": "1", "inner": {}, "more": 1}
    validator.complete(value)
    assert value == {"id": "1", "inner": {"x": None}, "more": 1, "must": None}


def test_properties_that_may_not_be_null_stay_missing() -> None:
    validator = ResponseValidator(ANSWER, COMPONENTS | INNER).relayed
    value: JSON = {"must": "x"}
    validator.complete(value)
    assert value == {"must": "x"}


def test_validators_are_compiled_on_first_use(operation: Callable[[str], Operation]) -> None:
    validator = ResponseValidator(ANSWER, COMPONENTS | INNER)
    assert validator._compiled is None
    assert validator.is_valid({"id": "1", "must": None})
    assert validator._compiled is validator.compile()
