"""What the keywords of JSON Schema hold: the one place that knows where schemas nest."""

PREFIX = "#/components/schemas/"

SCHEMAS_BY_NAME = frozenset({"properties", "patternProperties", "dependentSchemas"})
SCHEMAS_IN_LIST = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
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
