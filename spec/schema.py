"""The keywords of JSON Schema, and which of them contain schemas."""

from collections.abc import Iterator, Mapping
from typing import Any

from spec.types import JSON

PREFIX = "#/components/schemas/"

SCHEMAS_BY_NAME = frozenset({"properties", "patternProperties", "dependentSchemas"})
SCHEMAS_IN_LIST = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
SCHEMAS_IN_PLACE = ("anyOf", "oneOf", "allOf")
SCHEMAS = frozenset(
    {
        "items",
        "additionalProperties",
        "unevaluatedProperties",
        "unevaluatedItems",
        "not",
        "contains",
        "propertyNames",
        "if",
        "then",
        "else",
    }
)
ASSERTIONS = frozenset(
    {
        "type",
        "enum",
        "const",
        "required",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "pattern",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minContains",
        "maxContains",
        "minProperties",
        "maxProperties",
        "dependentRequired",
        "format",
    }
)
NOTES = frozenset(
    {"default", "deprecated", "discriminator", "readOnly", "writeOnly", "contentMediaType", "contentEncoding"}
)
PROSE = frozenset(
    {"title", "description", "summary", "example", "examples", "externalDocs", "$comment", "xml"}
)
TAGS = frozenset({"type", "role", "object", "anchor"})
"""Properties by which OpenAI's unions tell their branches apart."""

KEYWORDS = SCHEMAS_BY_NAME | SCHEMAS_IN_LIST | SCHEMAS | ASSERTIONS | NOTES | {"$ref"}


def is_schema_map(keyword: str) -> bool:
    """Whether the keyword holds schemas by name."""
    return keyword in SCHEMAS_BY_NAME


def is_schema_list(keyword: str) -> bool:
    """Whether the keyword holds a list of schemas."""
    return keyword in SCHEMAS_IN_LIST


def is_schema(keyword: str) -> bool:
    """Whether the keyword holds one schema."""
    return keyword in SCHEMAS


def flat_schemas(
    schema: Any, components: Mapping[str, Any], seen: frozenset[str] = frozenset()
) -> Iterator[JSON]:
    """Yield the schema and every schema that may apply to the same value, through `$ref` and unions."""
    if not isinstance(schema, dict):
        return
    reference = schema.get("$ref")
    if reference is not None and reference not in seen:
        yield from flat_schemas(components[reference.removeprefix(PREFIX)], components, seen | {reference})
    for key in SCHEMAS_IN_PLACE:
        for one in schema.get(key, ()):
            yield from flat_schemas(one, components, seen)
    yield schema


def property_names(schema: Any, components: Mapping[str, Any]) -> frozenset[str]:
    """The names of the properties that a schema declares for an object."""
    return frozenset(name for one in flat_schemas(schema, components) for name in one.get("properties", ()))
