"""Every adaptation on a spec of a few lines: what stands in upstream's file, and what it becomes."""

import pytest
import yaml

from spec.normalize import normalize
from spec.rules import OPERATION_RULES, SCHEMA_RULES, WHOLE_SCHEMA_RULES
from tests.spec.shaped import document, schema_of

SCHEMAS = {
    "wrapped_in_its_name": ("A: {A: {type: string}}", {"type": "string"}),
    "misspelt_keywords": (
        "A: {type: array, min_items: 2, max_items: 3, optional: true, oaiTypeLabel: map, items: {type: string}}",
        {"type": "array", "minItems": 2, "maxItems": 3, "items": {"type": "string"}},
    ),
    "misspelt_keywords ref": (
        "A: {properties: {b: {ref: '#/components/schemas/B'}}}\nB: {type: string}",
        {"properties": {"b": {"$ref": "#/components/schemas/B"}}},
    ),
    "formats_as_types": (
        "A: {properties: {a: {type: float}, b: {type: int64}}}",
        {"properties": {"a": {"type": "number"}, "b": {"type": "integer"}}},
    ),
    "boolean_exclusive_bounds": (
        "A: {type: number, minimum: 0, exclusiveMinimum: true, maximum: 1, exclusiveMaximum: false}",
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    ),
    "nullable": ("A: {type: string, nullable: true}", {"type": ["string", "null"]}),
    "nullable enum": (
        "A: {type: string, enum: [a, b], nullable: true}",
        {"type": ["string", "null"], "enum": ["a", "b", None]},
    ),
    "nullable reference": (
        "A: {$ref: '#/components/schemas/B', nullable: true}\nB: {type: string}",
        {"anyOf": [{"$ref": "#/components/schemas/B"}, {"type": "null"}]},
    ),
    "nullable union": (
        "A: {oneOf: [{type: string}, {type: integer}], nullable: true, default: a}",
        {"anyOf": [{"anyOf": [{"type": "string"}, {"type": "integer"}]}, {"type": "null"}], "default": "a"},
    ),
    "nullable false": ("A: {type: string, nullable: false}", {"type": "string"}),
    "recursive_references": (
        "A: {$recursiveAnchor: true, properties: {of: {type: array, items: {$recursiveRef: '#'}}}}",
        {"properties": {"of": {"type": "array", "items": {"$ref": "#/components/schemas/A"}}}},
    ),
    "overlapping_one_of": (
        "A: {oneOf: [{type: string}, {type: string, enum: [a]}]}",
        {"anyOf": [{"type": "string"}, {"type": "string", "enum": ["a"]}]},
    ),
    "overlapping_one_of beside anyOf": (
        "A: {oneOf: [{type: string}], anyOf: [{maxLength: 1}]}",
        {"anyOf": [{"maxLength": 1}], "allOf": [{"anyOf": [{"type": "string"}]}]},
    ),
    "types_of_enums": (
        "A: {type: string, enum: [a, null]}",
        {"type": ["string", "null"], "enum": ["a", None]},
    ),
    "doubled_names": (
        "A: {required: [a, b, a, null], enum: [1, 1]}",
        {"required": ["a", "b"], "enum": [1]},
    ),
    "required_but_undeclared": (
        "A: {properties: {a: {type: string}}, required: [a, thread_id]}",
        {"properties": {"a": {"type": "string"}}, "required": ["a"]},
    ),
    "required_but_undeclared in a part": (
        "A: {allOf: [{properties: {a: {}}}, {properties: {b: {}}, required: [a]}]}",
        {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}, "required": ["a"]}]},
    ),
    "prose": (
        (
            "A: {title: t, description: d, example: 1, x-oaiMeta: {}, x-stainless-const: true, type: object,"
            " properties: {title: {type: string, description: d}, example: {type: integer}}}"
        ),
        {"type": "object", "properties": {"title": {"type": "string"}, "example": {"type": "integer"}}},
    ),
    "null schema": ("A: {properties: {a: null}}", {"properties": {"a": {}}}),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_normalized(name: str) -> None:
    before, after = SCHEMAS[name]
    assert schema_of(before) == after


def test_every_schema_rule_has_an_example() -> None:
    shown = {name.partition(" ")[0] for name in SCHEMAS}
    assert {rule.__name__ for rule in (*SCHEMA_RULES, *WHOLE_SCHEMA_RULES)} <= shown


OPERATIONS = {
    "missing_operation_ids": ("/a/{b}: {get: {responses: {}}}", "operationId", "get-a-b"),
    "missing_tags": ("/vector_stores/{b}: {get: {responses: {}}}", "tags", ["Vector Stores"]),
    "types_outside_schemas": (
        "/a: {get: {parameters: [{name: q, in: query, type: integer}], responses: {}}}",
        "parameters",
        [{"name": "q", "in": "query", "schema": {"type": "integer"}}],
    ),
    "path parameters": (
        "/a/{b}: {get: {responses: {}}}",
        "parameters",
        [{"name": "b", "in": "path", "required": True, "schema": {"type": "string"}}],
    ),
    "shared parameters": (
        "/a: {parameters: [{name: q, in: query, schema: {type: string}}], get: {responses: {}}}",
        "parameters",
        [{"name": "q", "in": "query", "schema": {"type": "string"}}],
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_normalized(name: str) -> None:
    paths, key, after = OPERATIONS[name]
    operation = next(iter(normalize(document(paths=paths), "t.yaml")["paths"].values()))["get"]
    assert operation[key] == after


def test_references_to_parts_are_inlined() -> None:
    whole = document(
        paths="/a: {post: {parameters: [{$ref: '#/components/parameters/P'}],"
        " requestBody: {$ref: '#/components/requestBodies/B'},"
        " responses: {'429': {$ref: '#/components/responses/R'}}}}"
    )
    content = {"application/json": {"schema": {"type": "object"}}}
    whole["components"] |= {
        "parameters": {"P": {"name": "q", "in": "query", "schema": {"type": "string"}}},
        "requestBodies": {"B": {"content": content}},
        "responses": {"R": {"description": "many", "headers": {"Retry-After": {}}, "content": content}},
    }
    operation = normalize(whole, "t.yaml")["paths"]["/a"]["post"]
    assert operation["parameters"] == [{"name": "q", "in": "query", "schema": {"type": "string"}}]
    assert operation["requestBody"] == {"content": content}
    assert operation["responses"] == {"429": {"description": "", "content": content}}


def test_every_operation_rule_has_an_example() -> None:
    assert {rule.__name__ for rule in OPERATION_RULES} <= {*OPERATIONS, "referred_parts"}


def test_unused_components_are_left_out() -> None:
    whole = document("A: {type: string}")
    whole["components"]["schemas"]["Event"] = yaml.safe_load("{type: object}")
    assert set(normalize(whole, "t.yaml")["components"]["schemas"]) == {"A"}
