"""What is no JSON for everybody is refused, and the field is named where there is one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import spec.weight
from spec.body import (
    MAX_CONTAINERS,
    MAX_DEPTH,
    MAX_NAME,
    MAX_PROPERTIES,
    MAX_SEARCHED,
    MAX_VALUES,
    parse_json,
)
from spec.errors import InvalidRequest


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e400}',
        b'{"a": -1e400}',
        b"1" * 400,
        b"1" * 5000,
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": "\x00"}',
        b"{'a': 1}",
        b'{"a": 1,}',
        b"\xef\xbb\xbf{}",
        b"[" * 50_000,
        b"[" * 5000 + b"]" * 5000,
    ],
)
def test_invalid_json_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="We could not parse the JSON body") as refused:
        parse_json(raw)
    assert len(refused.value.message) < 300


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b'{"a": {"b": [1, "x\\u0000"]}}', "a.b[1]"),
        (b'{"a": {"b\\u0000": 1}}', "a"),
        (b'"\\u0000"', None),
    ],
)
def test_a_null_character_is_refused_and_its_field_named(raw: bytes, param: str | None) -> None:
    with pytest.raises(InvalidRequest, match="null characters") as refused:
        parse_json(raw)
    assert refused.value.param == param


def test_a_whole_number_written_with_a_fraction_is_an_integer() -> None:
    value = parse_json(b'{"n": 5.0, "of": [1e3, {"x": -0.0}], "half": 0.5, "text": "5.0", "huge": 1e300}')
    assert value == {"n": 5, "of": [1000, {"x": 0}], "half": 0.5, "text": "5.0", "huge": 1e300}
    assert [type(one) for one in (value["n"], value["of"][0], value["of"][1]["x"])] == [int, int, int]
    assert isinstance(value["huge"], float)


def test_a_backslash_before_u0000_is_text() -> None:
    assert parse_json(b'["\\\\u0000"]') == ["\\u0000"]


@pytest.mark.parametrize(
    "raw", [b'{"a":1,"a":1}', b'{"a": 1, "b": {"c": 1, "c": 2}}', b'[{"a":1,"\\u0061":2}]']
)
def test_a_key_given_twice_is_refused_by_name(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="is given twice"):
        parse_json(raw)


def test_a_key_given_twice_is_refused_in_a_large_body_too() -> None:
    filler = "x" * MAX_SEARCHED
    with pytest.raises(InvalidRequest, match=r"could not parse .* duplicate key"):
        parse_json(f'{{"a":1,"b":"{filler}","a":2}}'.encode())


@pytest.mark.parametrize("whole", [2**64 - 1, -(2**63)])
def test_integers_of_64_bits_are_exact_and_larger_ones_are_floats(whole: int) -> None:
    beyond = whole + (1 if whole > 0 else -1)
    assert parse_json(f'{{"a": [{whole}, {beyond}]}}'.encode()) == {"a": [whole, float(beyond)]}
    assert isinstance(parse_json(str(beyond).encode()), float)


def test_an_object_with_too_many_properties_is_refused() -> None:
    pairs = ",".join(f'"{number}":0' for number in range(MAX_PROPERTIES + 1))
    with pytest.raises(InvalidRequest, match="more than 10000 properties"):
        parse_json(f'{{"a":[{{{pairs}}}]}}'.encode())


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_is_bounded(opening: str) -> None:
    closing = "]" if opening == "[" else "}"

    def nested(depth: int) -> bytes:
        return (opening * depth + "1" + closing * depth).encode()

    assert parse_json(nested(MAX_DEPTH)) is not None
    with pytest.raises(InvalidRequest, match="nested deeper"):
        parse_json(nested(MAX_DEPTH + 1))


def test_many_shallow_values_are_not_deep() -> None:
    assert len(parse_json(b"[" + b",".join([b"[[]]"] * 1000) + b"]")) == 1000


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_characters="\0")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_characters="\0")), inner),
    max_leaves=20,
)


@given(JSON, st.sampled_from([None, 1]), st.booleans())
def test_json_is_parsed_whatever_its_formatting(value: Any, indent: int | None, ascii: bool) -> None:
    raw = json.dumps(value, indent=indent, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    try:
        assert parse_json(raw) == value
    except InvalidRequest:
        assert any(0xD800 <= ord(character) <= 0xDFFF for character in json.dumps(value, ensure_ascii=False))


@given(st.binary())
def test_no_bytes_raise_anything_but_invalid(raw: bytes) -> None:
    try:
        parse_json(raw)
    except InvalidRequest as refused:
        assert refused.message


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"a": [' + b"0," * MAX_VALUES + b"0]}", "values"),
        (b"[" + b"[]," * MAX_CONTAINERS + b"0]", "objects and arrays"),
        (b'["' + b'\\"[\\\\' * 300_000 + b'",' + b"{}," * MAX_CONTAINERS + b"0]", "objects and arrays"),
    ],
    ids=["numbers", "lists", "objects behind a text"],
)
def test_a_body_has_no_more_values_than_a_parser_reads_in_a_moment(raw: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as refused:
        parse_json(raw)
    assert refused.value.code == "array_above_max_length"


def test_the_name_of_a_property_is_bounded() -> None:
    assert parse_json(b'{"%s": 1}' % (b"x" * MAX_NAME)) == {"x" * MAX_NAME: 1}
    with pytest.raises(InvalidRequest, match="65,536 characters") as refused:
        parse_json(b'[{"%s": 1}]' % (b"x" * (MAX_NAME + 1)))
    assert refused.value.code == "string_above_max_length"


TEXTS = st.lists(st.sampled_from([",", "[{", "\\", '"', "\\\\", ""]), max_size=40).map("".join)


@given(texts=st.lists(TEXTS, max_size=30), block=st.integers(1, 20))
def test_marks_in_texts_are_no_values(texts: list[str], block: int) -> None:
    raw = json.dumps({"[,": texts, ",{": [[texts]]}).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spec.weight, "_BLOCK", block)
        counted = spec.weight.count_outside_strings(raw, MAX_VALUES, MAX_CONTAINERS)
    assert counted == (1 + 2 * max(0, len(texts) - 1), 5)


def test_a_text_may_have_any_number_of_marks() -> None:
    text = ',[{"\\' * 100_000
    assert parse_json(json.dumps([text]).encode()) == [text]
