"""Whatever is sent, the explanation names one of its fields, and never fails itself."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spec.edition import Edition
from spec.errors import InvalidRequest, InvalidResponse
from spec.explain import field_path
from spec.operation import Operation
from spec.types import JSON
from spec.validation import RequestValidator

WORDS = st.sampled_from(
    ["type", "role", "model", "messages", "content", "text", "user", "function", "tools", "input", "metadata"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=15,
)
CHAT = {
    "model": "m",
    "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "metadata": {"a": "b"},
}
RESPONSE = {
    "model": "m",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
    ],
    "tools": [
        {"type": "file_search", "vector_store_ids": ["v"], "filters": {"type": "eq", "key": "k", "value": 1}}
    ],
}


def mutated(draw: Callable[[Any], Any], value: Any) -> Any:
    """`value` with one place of it replaced, added to, or taken away."""
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        name = draw(st.sampled_from(sorted(value)))
        return value | {name: mutated(draw, value[name])}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], mutated(draw, value[index]), *value[index + 1 :]]
    if isinstance(value, dict) and value and draw(st.booleans()):
        gone = draw(st.sampled_from(sorted(value)))
        return {name: one for name, one in value.items() if name != gone}
    if isinstance(value, dict) and draw(st.booleans()):
        return value | {draw(WORDS): draw(VALUES)}
    return draw(VALUES)


@st.composite
def mutations(draw: Callable[[Any], Any], base: Any) -> Any:
    return mutated(draw, base)


def exists(value: Any, param: str) -> bool:
    """Whether the field that `param` names, or the one that should hold it, is in `value`."""
    found = {"": value}
    todo = [("", value)]
    while todo:
        path, one = todo.pop()
        members: Any = ()
        if isinstance(one, dict):
            members = [(f"{path}.{name}" if path else name, member) for name, member in one.items()]
        elif isinstance(one, list):
            members = [(f"{path}[{index}]", member) for index, member in enumerate(one)]
        todo += members
        found |= dict(members)
    return param in found or param.rpartition(".")[0] in found


@pytest.mark.parametrize(("name", "base"), [("create_chat_completion", CHAT), ("create_response", RESPONSE)])
def test_the_refusal_of_an_altered_request_names_one_of_its_fields(
    operation: Callable[[str], Operation], name: str, base: Any
) -> None:
    body = operation(name).bodies["application/json"]
    body.check(base)

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(mutations(base))
    def checked(value: Any) -> None:
        try:
            body.check(value)
        except InvalidRequest as refused:
            assert not body.validator.is_valid(value)
            assert refused.message
            assert refused.code
            assert "any of the" not in refused.message
            assert refused.param is None or exists(value, refused.param)

    checked()


def test_every_operation_can_validate_any_value(newest: Edition) -> None:
    bodies = [body for one in newest.operations for body in one.bodies.values()][::6]
    answers = [one.response(200) for one in newest.operations[::12]]

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(VALUES)
    def checked(value: Any) -> None:
        for body in bodies:
            try:
                body.check(value)
            except InvalidRequest as refused:
                assert refused.message
        for answer in answers:
            try:
                if answer is not None:
                    answer.check(value)
            except InvalidResponse as refused:
                assert refused.message

    checked()


LIMITS: list[tuple[JSON, Any, str, str]] = [
    (
        {"minLength": 2},
        "a",
        "string_below_min_length",
        "string too short. Expected a string with minimum length 2",
    ),
    ({"minLength": 1}, "", "empty_string", "empty string. Expected a string with minimum length 1"),
    (
        {"minItems": 2},
        [1],
        "array_below_min_length",
        "array too short. Expected an array with minimum length 2",
    ),
    ({"minProperties": 1}, {}, "object_below_min_properties", "not enough properties"),
    ({"exclusiveMinimum": 0}, 0, "integer_below_min_value", "Expected a value > 0, but got 0"),
    ({"exclusiveMaximum": 1}, 1.5, "decimal_above_max_value", "Expected a value < 1, but got 1.5"),
    ({"pattern": "^a+$"}, "b", "invalid_value", "Expected a string that matches the pattern '^a+$'"),
    ({"multipleOf": 2}, 3, "invalid_value", "does not satisfy 'multipleOf'"),
    ({"uniqueItems": True}, [1, 1], "invalid_value", "does not satisfy 'uniqueItems'"),
    ({"not": {"type": "string"}}, "a", "invalid_value", "does not satisfy 'not'"),
    ({"const": "a"}, "b", "invalid_value", "Invalid value: 'b'. Supported values are: 'a'."),
    ({"enum": [1, 2, None]}, 3, "invalid_value", "Invalid value: 3. Supported values are: 1 and 2."),
    (False, 1, "unknown_parameter", "Unknown parameter: 'x'."),
    ({"type": ["string", "null"]}, 1, "invalid_type", "expected a string, but got an integer"),
    ({"type": "null"}, 1, "invalid_type", "expected null, but got an integer"),
    ({"type": "boolean"}, {}, "invalid_type", "expected a boolean, but got an object"),
    (
        {"anyOf": [{"type": "integer"}, {"type": "array"}]},
        1.5,
        "invalid_type",
        "one of an integer or an array",
    ),
]


@pytest.mark.parametrize(("schema", "value", "code", "text"), LIMITS)
def test_each_kind_of_fault_has_its_message(schema: Any, value: Any, code: str, text: str) -> None:
    validator = RequestValidator({"properties": {"x": schema}}, {})
    with pytest.raises(InvalidRequest) as refused:
        validator.check({"x": value})
    assert refused.value.code == code
    assert text in refused.value.message
    assert refused.value.param == "x"


@pytest.mark.parametrize(
    ("path", "text"),
    [((), None), (("a",), "a"), (("a", 0, "b"), "a[0].b"), ((0, "a"), "[0].a"), (("a b", "c.d"), "a b.c.d")],
)
def test_a_path_is_written_as_openai_writes_it(path: tuple[str | int, ...], text: str | None) -> None:
    assert field_path(path) == text
