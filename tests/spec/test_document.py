"""Whatever is unknown after the mends stops start-up, in one line that names the place."""

import pytest

from astrolabe_server.spec.document import mended
from astrolabe_server.spec.errors import SpecRefused
from astrolabe_server.tests.spec.shaped import document

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
    "/a: {get: {responses: {'200': {content: {text/x: {schema: {type: 3}}}}}}}": (
        "t.yaml: paths./a.get.responses.200.text/x.type: unknown type '3'"
    ),
    "/a: 5": "t.yaml: paths./a: a mapping is expected here",
}


@pytest.mark.parametrize("schemas", SCHEMAS)
def test_an_unknown_construct_of_a_schema_is_named(schemas: str) -> None:
    with pytest.raises(SpecRefused) as refused:
        mended(document(schemas), "t.yaml")
    assert str(refused.value).startswith(SCHEMAS[schemas])


@pytest.mark.parametrize("paths", PATHS)
def test_an_unknown_construct_of_a_path_is_named(paths: str) -> None:
    with pytest.raises(SpecRefused) as refused:
        mended(document(paths=paths), "t.yaml")
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
    with pytest.raises(SpecRefused) as refused:
        mended(whole, "t.yaml")
    assert str(refused.value) == line


def test_a_recursive_schema_is_no_circle() -> None:
    tree = "A: {type: object, properties: {of: {type: array, items: {$ref: '#/components/schemas/A'}}}}"
    assert mended(document(tree), "t.yaml")["components"]["schemas"]["A"]["type"] == "object"
