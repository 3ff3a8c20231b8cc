"""Query strings and forms become JSON by the types of the spec, in every notation of the SDKs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spec.errors import InvalidRequest
from spec.operation import Operation
from spec.types import JSON
from tests.spec.shaped import edition

SPEC = """
openapi: 3.1.0
info: {title: t, version: "1"}
paths:
  /a:
    get:
      operationId: a
      parameters:
        - {name: n, in: query, schema: {type: integer, minimum: 1, maximum: 100}}
        - {name: f, in: query, schema: {type: number}}
        - {name: b, in: query, schema: {type: boolean}}
        - {name: s, in: query, schema: {type: string, enum: [asc, desc]}}
        - {name: t, in: query, schema: {type: string}}
        - {name: list, in: query, schema: {type: array, items: {type: integer}}}
        - {name: "include[]", in: query, schema: {type: array, items: {type: string, enum: [x, y]}}}
        - {name: csv, in: query, explode: false, schema: {type: array, items: {type: string}}}
        - {name: metadata, in: query, style: deepObject, explode: true,
           schema: {type: object, additionalProperties: {type: string}}}
        - {name: range, in: query, schema: {type: object, properties: {gt: {type: integer}, lt: {type: integer}}}}
        - {name: any, in: query, schema: {anyOf: [{type: integer}, {type: "null"}]}}
      responses: {}
  /b/{id}/{n}:
    get:
      operationId: b
      parameters:
        - {name: n, in: path, required: true, schema: {type: integer}}
        - {name: q, in: query, required: true, schema: {type: string}}
      responses: {}
  /c?beta=true: {get: {operationId: c, responses: {}}}
"""


@pytest.fixture(scope="session")
def shaped(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Operation]:
    folder: Path = tmp_path_factory.mktemp("shaped")
    by_name = {one.name: one for one in edition(folder, SPEC).operations}
    return by_name.__getitem__


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (b"", {}),
        (b"n=20&s=asc", {"n": 20, "s": "asc"}),
        (b"f=1.5", {"f": 1.5}),
        (b"f=2", {"f": 2}),
        (b"b=true", {"b": True}),
        (b"b=false&&", {"b": False}),
        (b"t=5", {"t": "5"}),
        (b"t=a%20b+c%C3%A4", {"t": "a b cä"}),
        ("t=ä".encode(), {"t": "ä"}),
        (b"t=", {"t": ""}),
        (b"list=1&list=2", {"list": [1, 2]}),
        (b"list=1", {"list": [1]}),
        (b"list[]=1&list[]=2", {"list": [1, 2]}),
        (b"list%5B%5D=1", {"list": [1]}),
        (b"list[0]=1&list[1]=2", {"list": [1, 2]}),
        (b"list[1]=2&list[0]=1", {"list": [1, 2]}),
        (b"include[]=x&include[]=y", {"include": ["x", "y"]}),
        (b"include=x", {"include": ["x"]}),
        (b"csv=a,b", {"csv": ["a", "b"]}),
        (b"metadata[a]=1&metadata[b]=x", {"metadata": {"a": "1", "b": "x"}}),
        (b"range[gt]=1&range[lt]=5", {"range": {"gt": 1, "lt": 5}}),
        (b"any=5", {"any": 5}),
        (b"any=null", {"any": None}),
    ],
)
def test_a_query_becomes_json(shaped: Callable[[str], Operation], query: bytes, values: JSON) -> None:
    assert shaped("a").decode_query(query) == values


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        (b"n=x", "n", "invalid_type"),
        (b"n=", "n", "invalid_type"),
        (b"n=1.5", "n", "invalid_type"),
        (b"n=01", "n", "invalid_type"),
        (b"n=0", "n", "integer_below_min_value"),
        (b"n=101", "n", "integer_above_max_value"),
        (b"n=" + b"9" * 10_000, "n", "invalid_type"),
        (b"n=1&n=2", "n", "invalid_type"),
        (b"f=1e999", "f", "invalid_type"),
        (b"f=nan", "f", "invalid_type"),
        (b"b=1", "b", "invalid_type"),
        (b"s=up", "s", "invalid_value"),
        (b"list=1&list=x", "list[1]", "invalid_type"),
        (b"list[" + b"9" * 5000 + b"]=1", "list", "invalid_type"),
        (b"include[]=z", "include[0]", "invalid_value"),
        (b"metadata=x", "metadata", "invalid_type"),
        (b"range[gt]=x", "range.gt", "invalid_type"),
        (b"range[eq]=1", "range.eq", "unknown_parameter"),
        (b"range=1&range[gt]=1", "range", "invalid_value"),
        (b"range[gt]=1&range=1", "range", "invalid_value"),
        (b"list[]=1&list[a]=1", "list", "invalid_value"),
        (b"limti=20", "limti", "unknown_parameter"),
        (b"t=%00", "t", "invalid_value"),
        (b"t=%FF", None, "invalid_value"),
        (b"t=\xff", None, "invalid_value"),
        (b"t[a][b][c][d][e][f][g][h][i][j][k]=1", "t", "invalid_value"),
        (b"&".join([b"list=1"] * 1001), None, "invalid_value"),
        (b"metadata={%22a%22:%22%5Cu0000%22}", "a", "invalid_value"),
    ],
)
def test_a_query_that_does_not_fit_is_refused_by_name(
    shaped: Callable[[str], Operation], query: bytes, param: str | None, code: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        shaped("a").decode_query(query)
    assert (refused.value.param, refused.value.code) == (param, code)


def test_paths_are_decoded_too(shaped: Callable[[str], Operation]) -> None:
    operation = shaped("b")
    assert operation.decode_path({"id": "a b", "n": "5"}) == {"id": "a b", "n": 5}
    with pytest.raises(
        InvalidRequest, match="Invalid type for 'n': expected an integer, but got a string instead"
    ):
        operation.decode_path({"id": "a", "n": "x"})
    with pytest.raises(InvalidRequest, match="null characters"):
        operation.decode_path({"id": "a\0", "n": "1"})


def test_a_missing_required_parameter_is_refused(shaped: Callable[[str], Operation]) -> None:
    with pytest.raises(InvalidRequest, match="Missing required parameter: 'q'"):
        shaped("b").decode_query(b"")


def test_the_fixed_query_is_not_passed_to_the_handler(shaped: Callable[[str], Operation]) -> None:
    assert shaped("c").decode_query(b"beta=true") == {}


@given(
    st.binary(max_size=200)
    | st.from_regex(r"(\w{1,8}(\[\w?\]){0,3}=\w?&){0,9}", fullmatch=True).map(str.encode)
)
def test_no_query_raises_anything_but_invalid(shaped: Callable[[str], Operation], query: bytes) -> None:
    try:
        shaped("a").decode_query(query)
    except InvalidRequest as refused:
        assert refused.message


# --- forms ---


class File:
    """What the serving layer puts in place of a file."""


def test_a_form_is_decoded_with_its_files(operation: Callable[[str], Operation]) -> None:
    file = File()
    pairs = [("purpose", "assistants"), ("file", file), ("expires_after[anchor]", "created_at")]
    form = (
        operation("create_file")
        .bodies["multipart/form-data"]
        .decode([*pairs, ("expires_after[seconds]", "3600")])
    )
    assert form == {
        "purpose": "assistants",
        "file": file,
        "expires_after": {"anchor": "created_at", "seconds": 3600},
    }


def test_a_form_field_may_contain_json(operation: Callable[[str], Operation]) -> None:
    pairs = [("purpose", "assistants"), ("file", File())]
    form = (
        operation("create_file")
        .bodies["multipart/form-data"]
        .decode([*pairs, ("expires_after", '{"anchor":"created_at","seconds":3600}')])
    )
    assert form["expires_after"] == {"anchor": "created_at", "seconds": 3600}


@pytest.mark.parametrize("name", ["image", "image[]", "image[0]"])
def test_several_files_are_a_list(operation: Callable[[str], Operation], name: str) -> None:
    file = File()
    form = (
        operation("create_image_edit")
        .bodies["multipart/form-data"]
        .decode([(name, file), ("prompt", "x"), ("n", "2")])
    )
    assert form["image"] in ([file], file)
    assert form["n"] == 2
    assert operation("create_image_edit").bodies["multipart/form-data"].takes_file(name)
    assert not operation("create_image_edit").bodies["multipart/form-data"].takes_file("prompt")


@pytest.mark.parametrize(
    ("pairs", "param", "code"),
    [
        ([("file", File())], "purpose", "missing_required_parameter"),
        ([("purpose", "assistants")], "file", "missing_required_parameter"),
        ([("purpose", "x"), ("file", File())], "purpose", "invalid_value"),
        ([("purpose", "assistants"), ("file", "text")], "file", "invalid_type"),
        ([("purpose", File()), ("file", File())], "purpose", "invalid_type"),
        ([("purpose", "assistants"), ("file", File()), ("x", "1")], "x", "unknown_parameter"),
        ([("purpose", "assistants"), ("file", File()), ("x", File())], "x", "invalid_type"),
        ([("purpose", "a\0"), ("file", File())], "purpose", "invalid_value"),
        (
            [("purpose", "assistants"), ("file", File()), ("expires_after[seconds]", "1")],
            "expires_after.anchor",
            "missing_required_parameter",
        ),
        (
            [
                ("purpose", "assistants"),
                ("file", File()),
                ("expires_after[anchor]", File()),
                ("expires_after[seconds]", "3600"),
            ],
            "expires_after",
            "invalid_type",
        ),
    ],
)
def test_a_form_that_does_not_fit_is_refused_by_name(
    operation: Callable[[str], Operation], pairs: list[tuple[str, Any]], param: str, code: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        operation("create_file").bodies["multipart/form-data"].decode(pairs)
    assert (refused.value.param, refused.value.code) == (param, code)


def test_a_body_is_chosen_by_its_content_type(operation: Callable[[str], Operation]) -> None:
    chat, file = operation("create_chat_completion"), operation("create_file")
    assert chat.body("Application/JSON; charset=utf-8").media == "application/json"
    assert chat.body("").media == "application/json"
    assert file.body("multipart/form-data; boundary=x").media == "multipart/form-data"
    assert file.body("application/x-www-form-urlencoded").media == "multipart/form-data"
    with pytest.raises(InvalidRequest, match="only accepts 'application/json'") as refused:
        chat.body("text/plain")
    assert refused.value.code == "unsupported_content_type"
