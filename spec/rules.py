"""The rules that normalize upstream's files, each a function named after what it handles.

They bring every revision to one form: OpenAPI 3.1 with JSON Schema 2020-12. `spec/normalize.py` applies
them to each schema and each operation, in the order of the tables below, and refuses what is still
unknown. Anchors that are defined twice are handled by `spec/reading.py`, `?beta=true` paths by
`spec/operation.py`, and what only Connexion needs by `spec/facade.py`.
"""

# ruff: noqa: ARG001 -- all rules of a table have one signature

from collections.abc import Callable
from typing import Any

from spec.schema import PREFIX
from spec.types import JSON

SchemaRule = Callable[[JSON, str], JSON]
OperationRule = Callable[[JSON, str, str, JSON], JSON]

_REFERABLE = ("parameters", "responses", "requestBodies", "headers")


# --- schemas ---


def misspelt_keywords(schema: JSON, component: str) -> JSON:
    """Rename `min_items` to `minItems` and `ref` to `$ref`; drop marks of upstream's tools."""
    names = {"min_items": "minItems", "max_items": "maxItems", "ref": "$ref"}
    return {
        names.get(key, key): value for key, value in schema.items() if key not in ("optional", "oaiTypeLabel")
    }


def wrapped_in_its_name(schema: JSON, component: str) -> JSON:
    """Unwrap `Name: {Name: {…}}`, a component indented twice."""
    return schema[component] if schema.keys() == {component} else schema


def formats_as_types(schema: JSON, component: str) -> JSON:
    """Replace `type: float` and `type: int64`, which are formats, by their types."""
    names = {"float": "number", "double": "number", "int32": "integer", "int64": "integer"}
    kind = schema.get("type")
    return {**schema, "type": names[kind]} if isinstance(kind, str) and kind in names else schema


def boolean_exclusive_bounds(schema: JSON, component: str) -> JSON:
    """`minimum: 0, exclusiveMinimum: true` of OpenAPI 3.0 is `exclusiveMinimum: 0` since 3.1."""
    result = dict(schema)
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(result.get(exclusive), bool):
            wanted = result.pop(exclusive)
            if wanted and bound in result:
                result[exclusive] = result.pop(bound)
    return result


def nullable(schema: JSON, component: str) -> JSON:
    """`nullable: true` of OpenAPI 3.0 is the type null, beside a type, an enum or a reference."""
    if "nullable" not in schema:
        return schema
    result = {key: value for key, value in schema.items() if key != "nullable"}
    if schema["nullable"] is not True or not result:
        return result
    kind = result.get("type")
    unions = {"anyOf", "oneOf", "allOf", "$ref", "const", "not"} & result.keys()
    if kind is None or unions:
        notes: JSON = {key: result.pop(key) for key in ("default", "deprecated") if key in result}
        return {"anyOf": [result, {"type": "null"}], **notes}
    types = [kind] if isinstance(kind, str) else kind
    result["type"] = types if "null" in types else [*types, "null"]
    if "enum" in result and None not in result["enum"]:
        result["enum"] = [*result["enum"], None]
    return result


def recursive_references(schema: JSON, component: str) -> JSON:
    """`$recursiveRef: "#"` of JSON Schema 2019-09, by which upstream means the component itself."""
    result = {key: value for key, value in schema.items() if key != "$recursiveAnchor"}
    if result.get("$recursiveRef") == "#" and component:
        del result["$recursiveRef"]
        result["$ref"] = PREFIX + component
    return result


def overlapping_one_of(schema: JSON, component: str) -> JSON:
    """Replace `oneOf` by `anyOf`: upstream's branches overlap, and the service accepts that."""
    if "oneOf" not in schema:
        return schema
    result = {key: value for key, value in schema.items() if key != "oneOf"}
    if "anyOf" in result:
        return {**result, "allOf": [*result.get("allOf", ()), {"anyOf": schema["oneOf"]}]}
    return {**result, "anyOf": schema["oneOf"]}


def types_of_enums(schema: JSON, component: str) -> JSON:
    """`enum: [a, null]` with `type: string` alone allows null too, as upstream means it."""
    if schema.get("type") == "string" and None in (schema.get("enum") or ()):
        return {**schema, "type": ["string", "null"]}
    return schema


def doubled_names(schema: JSON, component: str) -> JSON:
    """Remove duplicates from `required` and `enum`, and empty names from `required`."""
    result = dict(schema)
    for key in ("required", "enum"):
        values = schema.get(key)
        if isinstance(values, list):
            values = [value for value in values if value is not None or key == "enum"]
            result[key] = [value for index, value in enumerate(values) if value not in values[:index]]
    return result


SCHEMA_RULES: tuple[SchemaRule, ...] = (
    wrapped_in_its_name,
    misspelt_keywords,
    formats_as_types,
    boolean_exclusive_bounds,
    nullable,
    recursive_references,
    overlapping_one_of,
    types_of_enums,
    doubled_names,
)


def required_but_undeclared(schema: JSON, component: str) -> JSON:
    """Drop names from `required` that no property has, such as the thread_id of a body."""
    declared = schema.get("properties")
    open_ended = {"allOf", "anyOf", "$ref", "patternProperties"} & schema.keys()
    if not declared or open_ended or schema.get("additionalProperties") or "required" not in schema:
        return schema
    return {**schema, "required": [name for name in schema["required"] if name in declared]}


WHOLE_SCHEMA_RULES: tuple[SchemaRule, ...] = (required_but_undeclared,)
"""Rules for schemas outside of an `allOf`, whose other parts may declare what this one lacks."""


# --- operations ---


def referred_parts(operation: JSON, path: str, method: str, components: JSON) -> JSON:
    """Inline parameters, bodies and responses that refer to components."""
    result = dict(operation)
    if "parameters" in result:
        result["parameters"] = [_inlined(one, components) for one in result["parameters"]]
    if "requestBody" in result:
        result["requestBody"] = _inlined(result["requestBody"], components)
    if isinstance(result.get("responses"), dict):
        result["responses"] = {key: _inlined(one, components) for key, one in result["responses"].items()}
    return result


def _inlined(part: Any, components: JSON) -> Any:
    if not isinstance(part, dict) or not isinstance(part.get("$ref"), str):
        return part
    *_, kind, name = part["$ref"].split("/")
    found = components.get(kind, {}).get(name) if kind in _REFERABLE else None
    return part if found is None else found


def missing_operation_ids(operation: JSON, path: str, method: str, components: JSON) -> JSON:
    """Name an operation without an id after its method and path."""
    if operation.get("operationId"):
        return operation
    words = [word.strip("{}") for word in path.partition("?")[0].split("/") if word]
    return {**operation, "operationId": "-".join((method, *words))}


def missing_tags(operation: JSON, path: str, method: str, components: JSON) -> JSON:
    """Tag an operation without tags with the first segment of its path."""
    if operation.get("tags"):
        return operation
    return {**operation, "tags": [path.partition("?")[0].split("/")[1].replace("_", " ").title() or "Root"]}


def types_outside_schemas(operation: JSON, path: str, method: str, components: JSON) -> JSON:
    """Move a parameter's type into its schema."""
    parameters = [
        {**{key: value for key, value in one.items() if key != "type"}, "schema": {"type": one["type"]}}
        if isinstance(one, dict) and "type" in one and not one.get("schema")
        else one
        for one in operation.get("parameters", ())
    ]
    return {**operation, "parameters": parameters} if parameters else operation


OPERATION_RULES: tuple[OperationRule, ...] = (
    referred_parts,
    missing_operation_ids,
    missing_tags,
    types_outside_schemas,
)
