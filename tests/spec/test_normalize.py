"""A construct that is unknown after normalization stops start-up with one line that names its place."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from spec.errata import apply_errata
from spec.errors import InvalidSpec
from spec.normalize import normalize
from spec.operation import operation
from tests.spec.shaped import compile_validators, document

SCHEMAS = {
    "A: {type: object, minFoo: 1}": "t.yaml: components.schemas.A: unknown keyword 'minFoo'",
    "A: {properties: {b: {$dynamicRef: '#x'}}}": (
        "t.yaml: components.schemas.A.properties.b: unknown keyword '$dynamicRef'"
    ),
    "A: {type: text}": "t.yaml: components.schemas.A.type: unknown type 'text'",
    "A: {$ref: '#/components/schemas/B'}": (
        "t.yaml: components.schemas.A.$ref: a reference to '#/components/schemas/B', which is not there"
    ),
    "A: {$ref: 'other.yaml#/B'}": (
        "t.yaml: components.schemas.A.$ref: a reference to 'other.yaml#/B', only #/components/schemas/… is known"
    ),
    "A: {allOf: {type: object}}": "t.yaml: components.schemas.A.allOf: a list is expected here",
    "A: {properties: [a]}": "t.yaml: components.schemas.A.properties: a mapping is expected here",
    "A: {items: 5}": "t.yaml: components.schemas.A.items: a mapping is expected here",
    "A: {minLength: -1}": "t.yaml: components.schemas.A.minLength: -1 is less than the minimum of 0",
    "A: {pattern: '(' }": "t.yaml: components.schemas.A: the pattern '(' is no regular expression",
    "A: {$ref: '#/components/schemas/A'}": (
        "t.yaml: components.schemas.A: a schema that refers to itself in place"
    ),
    "A: {anyOf: [{$ref: '#/components/schemas/B'}]}\nB: {allOf: [{$ref: '#/components/schemas/A'}]}": (
        "t.yaml: components.schemas.A: a schema that refers to itself in place"
    ),
}
PATHS = {
    "/a: {get: {responses: {}, frobnicate: 1}}": "t.yaml: paths./a.get: unknown key 'frobnicate'",
    "/a: {fetch: {responses: {}}}": "t.yaml: paths./a: unknown key 'fetch'",
    "/a/x{b}: {get: {responses: {}}}": (
        "t.yaml: paths./a/x{b}: a parameter that is only a part of its segment, 'x{b}'"
    ),
    "/a: {get: {parameters: [{name: q, in: body}], responses: {}}}": (
        "t.yaml: paths./a.get.parameters.q: a parameter in 'body'"
    ),
    "/a: {get: {parameters: [{in: query}], responses: {}}}": (
        "t.yaml: paths./a.get.parameters: a parameter without a name"
    ),
    "/a: {get: {operationId: x, responses: {}}}\n/b: {get: {operationId: x, responses: {}}}": (
        "t.yaml: paths./b.get: operationId 'x' is also that of paths./a.get"
    ),
    "/a: {get: {operationId: a-b, responses: {}}}\n/b: {get: {operationId: aB, responses: {}}}": (
        "t.yaml: paths./b.get: operationId 'aB' is also that of paths./a.get"
    ),
    "/a: {get: {operationId: '5', responses: {}}}": (
        "t.yaml: paths./a.get: no name can be made of operationId '5'"
    ),
    "/a: {get: {responses: {'200': {content: {text/x: {schema: {type: 3}}}}}}}": (
        "t.yaml: paths./a.get.responses.200.text/x.type: unknown type '3'"
    ),
    "/a: 5": "t.yaml: paths./a: a mapping is expected here",
}


@pytest.mark.parametrize("schemas", SCHEMAS)
def test_an_unknown_construct_of_a_schema_is_named(schemas: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        normalize(document(schemas), "t.yaml")
    assert str(refused.value).startswith(SCHEMAS[schemas])


@pytest.mark.parametrize("paths", PATHS)
def test_an_unknown_construct_of_a_path_is_named(paths: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        normalize(document(paths=paths), "t.yaml")
    assert str(refused.value) == PATHS[paths]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"openapi": "4.0.0"}, "t.yaml: openapi: OpenAPI 4.0.0 is not known, 3.0 and 3.1 are"),
        ({"openapi": None, "swagger": "2.0"}, "t.yaml: openapi: OpenAPI 2.0 is not known, 3.0 and 3.1 are"),
        ({"openapi": None}, "t.yaml: openapi: not an OpenAPI document: the version is missing"),
        ({"paths": None}, "t.yaml: paths: a mapping is expected here"),
        ({"plugins": {}}, "t.yaml: document: unknown key 'plugins'"),
    ],
)
def test_an_unknown_document_is_refused(change: dict, line: str) -> None:
    whole = {key: value for key, value in (document() | change).items() if value is not None}
    with pytest.raises(InvalidSpec) as refused:
        normalize(whole, "t.yaml")
    assert str(refused.value) == line


def test_a_recursive_schema_is_allowed() -> None:
    tree = "A: {type: object, properties: {of: {type: array, items: {$ref: '#/components/schemas/A'}}}}"
    assert normalize(document(tree), "t.yaml")["components"]["schemas"]["A"]["type"] == "object"


WHOLE = yaml.safe_load("""
openapi: 3.0.0
info: {title: t, version: "1"}
servers: [{url: https://api/v1}]
tags: [{name: A}]
paths:
  /a/{b}:
    parameters: [{name: q, in: query, schema: {type: integer, nullable: true}}]
    post:
      operationId: a
      tags: [A]
      requestBody: {required: true, content: {application/json: {schema: {$ref: '#/components/schemas/A'}}}}
      responses: {'200': {description: ok, content: {application/json: {schema: {$ref: '#/components/schemas/A'}}}}}
components:
  schemas:
    A:
      type: object
      nullable: true
      properties: {a: {oneOf: [{type: string, enum: [x]}, {type: number, minimum: 0, exclusiveMinimum: true}]}}
      required: [a]
      additionalProperties: false
""")
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def altered(draw: Callable[[Any], Any], value: Any) -> Any:
    """`value` with one place of it replaced by anything."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        name = draw(st.sampled_from(sorted(value)))
        return value | {name: altered(draw, value[name])}
    if isinstance(value, list) and value and draw(st.integers(0, 9)):
        return [altered(draw, value[0]), *value[1:]]
    return draw(ANYTHING)


@st.composite
def alterations(draw: Callable[[Any], Any]) -> Any:
    return altered(draw, WHOLE)


@settings(max_examples=300, deadline=None)
@given(alterations())
def test_any_file_is_served_or_refused_in_one_line(document: Any) -> None:
    if not isinstance(document, dict):
        return
    try:
        whole = apply_errata(normalize(document, "t.yaml"))
        components = whole["components"]["schemas"]
        for path, item in whole["paths"].items():
            for method, spec in item.items():
                compile_validators(operation(path, method, spec, components))
    except InvalidSpec as refused:
        assert str(refused).startswith("t.yaml: ")
        assert "\n" not in str(refused)
